package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/oauth2"

	"pomodoro.cc/services/api/internal/store"
	"pomodoro.cc/services/internal/service"
)

// providerNames are the providers that can be configured, in the order in which
// the app shows them.
var providerNames = []string{"github", "twitter"}

// providerTime is how long a provider may take for one answer.
const providerTime = 8 * time.Second

// provider is one that visitors can log in with.
type provider struct {
	name     string
	oauth    oauth2.Config
	userURL  string
	identity func(answer []byte) (store.User, error)
	client   *http.Client
}

// origin are the providers' own addresses; each can be replaced by environment.
var origin = map[string]provider{
	"github": {
		oauth: oauth2.Config{Endpoint: oauth2.Endpoint{
			AuthURL: "https://github.com/login/oauth/authorize", TokenURL: "https://github.com/login/oauth/access_token",
			AuthStyle: oauth2.AuthStyleInParams,
		}},
		userURL: "https://api.github.com/user", identity: githubUser,
	},
	"twitter": {
		oauth: oauth2.Config{Scopes: []string{"tweet.read", "users.read"}, Endpoint: oauth2.Endpoint{
			AuthURL: "https://x.com/i/oauth2/authorize", TokenURL: "https://api.x.com/2/oauth2/token",
			AuthStyle: oauth2.AuthStyleInHeader,
		}},
		userURL: "https://api.x.com/2/users/me?user.fields=profile_image_url", identity: twitterUser,
	},
}

// providersFrom returns the providers that env configures: NAME_CLIENT_ID and
// NAME_CLIENT_SECRET together, and NAME_AUTH_URL, NAME_TOKEN_URL, NAME_USER_URL.
func providersFrom(env *service.Env) []*provider {
	var found []*provider
	for _, name := range providerNames {
		p, prefix := origin[name], map[string]string{"github": "GITHUB", "twitter": "TWITTER"}[name]
		p.name = name
		p.oauth.ClientID = env.String(prefix+"_CLIENT_ID", "")
		p.oauth.ClientSecret = env.String(prefix+"_CLIENT_SECRET", "")
		p.oauth.Endpoint.AuthURL = address(env, prefix+"_AUTH_URL", p.oauth.Endpoint.AuthURL)
		p.oauth.Endpoint.TokenURL = address(env, prefix+"_TOKEN_URL", p.oauth.Endpoint.TokenURL)
		p.userURL = address(env, prefix+"_USER_URL", p.userURL)
		p.client = &http.Client{Timeout: providerTime}
		switch {
		case p.oauth.ClientID != "" && p.oauth.ClientSecret != "":
			found = append(found, &p)
		case p.oauth.ClientID != "":
			env.Reject(prefix+"_CLIENT_SECRET", "is missing, and %s_CLIENT_ID is set", prefix)
		case p.oauth.ClientSecret != "":
			env.Reject(prefix+"_CLIENT_ID", "is missing, and %s_CLIENT_SECRET is set", prefix)
		}
	}
	return found
}

// address returns the value of name, which must be a URL.
func address(env *service.Env, name, otherwise string) string {
	v := env.String(name, otherwise)
	if u, err := url.Parse(v); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		env.Reject(name, "%q is not a URL such as https://example.org", v)
	}
	return v
}

func (a *api) listProviders(w http.ResponseWriter, _ *http.Request) {
	names := []string{}
	for _, p := range a.providers {
		names = append(names, p.name)
	}
	if a.fakeLogin {
		names = append(names, "fake")
	}
	answer(w, http.StatusOK, map[string][]string{"providers": names})
}

// provider returns the one with this name, or answers that there is none.
func (a *api) provider(w http.ResponseWriter, name string) (*provider, bool) {
	for _, p := range a.providers {
		if p.name == name {
			return p, true
		}
	}
	fail(w, http.StatusNotFound, "this login is not configured")
	return nil, false
}

// departure is what is kept while a visitor is at a provider.
type departure struct {
	Provider string
	Verifier string // of PKCE, RFC 7636
}

// leave sends a visitor to a provider. State binds the way back to this
// browser, so that nobody can log a stranger's browser into his own account
// (RFC 6749, 10.12); it stands in a cookie here and with the provider there.
func (a *api) leave(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, ok := a.provider(w, name)
		if !ok {
			return
		}
		state, verifier := secret(), oauth2.GenerateVerifier()
		kept, err := json.Marshal(departure{Provider: name, Verifier: verifier})
		if err == nil {
			err = a.live.BeginFlow(r.Context(), state, kept)
		}
		if err != nil {
			a.broken(w, err)
			return
		}
		setCookie(w, r, loginCookie, state, store.FlowTTL)
		to := a.configOf(p, r).AuthCodeURL(state, oauth2.S256ChallengeOption(verifier))
		http.Redirect(w, r, to, http.StatusFound)
	}
}

// configOf is p's configuration with the address to come back to. Where PUBLIC_URL
// is not set it follows the request; a provider accepts only registered ones.
func (a *api) configOf(p *provider, r *http.Request) *oauth2.Config {
	config := p.oauth
	base := a.public
	if base == "" {
		base = "http://" + r.Host
		if _, secure := cookieName(r, ""); secure {
			base = "https://" + r.Host
		}
	}
	config.RedirectURL = base + "/auth/" + p.name + "/callback"
	return &config
}

// comeBack logs in who returns from a provider. Whatever happens, it ends at /,
// and nowhere that the query says.
func (a *api) comeBack(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, ok := a.provider(w, name)
		if !ok {
			return
		}
		state := cookie(r, loginCookie)
		setCookie(w, r, loginCookie, "", 0)
		user, err := a.identify(r, p, state)
		if err == nil {
			err = a.login(w, r, user)
		}
		if err != nil {
			a.log.Warn("login failed", "provider", name, "error", err.Error())
		}
		http.Redirect(w, r, "/", http.StatusFound)
	}
}

// identify finds out who comes back. Its errors hold nothing that is secret.
func (a *api) identify(r *http.Request, p *provider, state string) (store.User, error) {
	q := r.URL.Query()
	if state == "" || subtle.ConstantTimeCompare([]byte(state), []byte(q.Get("state"))) != 1 {
		return store.User{}, errors.New("the state is not that of this browser")
	}
	kept, err := a.live.EndFlow(r.Context(), state)
	if err != nil {
		return store.User{}, err
	}
	var left departure
	if err := json.Unmarshal(kept, &left); err != nil || left.Provider != p.name {
		return store.User{}, fmt.Errorf("the state was made for %q", left.Provider)
	}
	if q.Get("error") != "" {
		return store.User{}, fmt.Errorf("the provider says %.64q", q.Get("error"))
	}
	ctx := context.WithValue(r.Context(), oauth2.HTTPClient, p.client)
	token, err := a.configOf(p, r).Exchange(ctx, q.Get("code"), oauth2.VerifierOption(left.Verifier))
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) { // its text holds the whole answer
		return store.User{}, fmt.Errorf("exchange the code: %s %.64q", refused.Response.Status, refused.ErrorCode)
	}
	if err != nil {
		return store.User{}, fmt.Errorf("exchange the code: %w", err)
	}
	user, err := p.user(ctx, token)
	user.Provider = p.name
	return user, err
}

// user asks the provider whose token it is.
func (p *provider) user(ctx context.Context, token *oauth2.Token) (store.User, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.userURL, nil)
	if err != nil {
		return store.User{}, fmt.Errorf("ask for the user: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	token.SetAuthHeader(req)
	resp, err := p.client.Do(req)
	if err != nil {
		return store.User{}, fmt.Errorf("ask for the user: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != http.StatusOK {
		return store.User{}, fmt.Errorf("ask for the user: GET %s: %s", p.userURL, resp.Status)
	}
	if err != nil {
		return store.User{}, fmt.Errorf("ask for the user: GET %s: %w", p.userURL, err)
	}
	user, err := p.identity(raw)
	if err != nil {
		return store.User{}, fmt.Errorf("ask for the user: GET %s: %w", p.userURL, err)
	}
	return user, nil
}

var errNobody = errors.New("the answer has no id")

func githubUser(answer []byte) (store.User, error) {
	var u struct {
		ID     int64  `json:"id"`
		Login  string `json:"login"`
		Avatar string `json:"avatar_url"`
	}
	if err := json.Unmarshal(answer, &u); err != nil {
		return store.User{}, err
	}
	if u.ID == 0 {
		return store.User{}, errNobody
	}
	return store.User{ProviderID: strconv.FormatInt(u.ID, 10), Username: u.Login, Avatar: u.Avatar}, nil
}

func twitterUser(answer []byte) (store.User, error) {
	var u struct {
		Data struct {
			ID       string `json:"id"`
			Username string `json:"username"`
			Avatar   string `json:"profile_image_url"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &u); err != nil {
		return store.User{}, err
	}
	if u.Data.ID == "" {
		return store.User{}, errNobody
	}
	return store.User{ProviderID: u.Data.ID, Username: u.Data.Username, Avatar: u.Data.Avatar}, nil
}
