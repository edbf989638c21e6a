package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-oauth2/oauth2/v4"
	autherrors "github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"
	authserver "github.com/go-oauth2/oauth2/v4/server"
	authstore "github.com/go-oauth2/oauth2/v4/store"

	"pomodoro.cc/services/internal/service"
	"pomodoro.cc/services/internal/testbed"
)

const (
	clientID     = "the-client"
	clientSecret = "the-client-secret"
)

// authority is a real OAuth 2 server that gives codes to everybody for its one
// user, insists on PKCE, and tells who a token is of.
type authority struct {
	*httptest.Server
	user string // as its API tells it; with the quirks of the provider it stands for

	mu      sync.Mutex // guards the fields below
	refuses bool       // the visitor presses cancel
	broken  bool       // it tells nobody who a token is of
	issued  []string   // access tokens
}

// newAuthority starts one for api at the given address. Like is github or
// twitter: one reads the client's secret from the form, the other from Basic.
func newAuthority(t *testing.T, like, user string, api func() string) *authority {
	t.Helper()
	a := &authority{user: user}
	manager := manage.NewDefaultManager()
	manager.MustTokenStorage(authstore.NewMemoryTokenStore())
	manager.SetValidateURIHandler(func(_, redirect string) error {
		if want := api() + "/auth/" + like + "/callback"; redirect != want {
			return fmt.Errorf("%s is not %s: %w", redirect, want, autherrors.ErrInvalidRedirectURI)
		}
		return nil
	})
	clients := authstore.NewClientStore()
	if err := clients.Set(clientID, &models.Client{ID: clientID, Secret: clientSecret}); err != nil {
		t.Fatal(err)
	}
	manager.MapClientStorage(clients)
	s := authserver.NewServer(&authserver.Config{
		TokenType: "Bearer", AllowedResponseTypes: []oauth2.ResponseType{oauth2.Code}, AllowedGrantTypes: []oauth2.GrantType{oauth2.AuthorizationCode},
		AllowedCodeChallengeMethods: []oauth2.CodeChallengeMethod{oauth2.CodeChallengeS256}, ForcePKCE: true,
	}, manager)
	s.SetClientInfoHandler(authserver.ClientFormHandler)
	if like == "twitter" {
		s.SetClientInfoHandler(authserver.ClientBasicHandler)
	}
	s.SetUserAuthorizationHandler(func(http.ResponseWriter, *http.Request) (string, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.refuses {
			return "", autherrors.ErrAccessDenied
		}
		return "somebody", nil
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		if err := s.HandleAuthorizeRequest(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if err := s.HandleTokenRequest(w, r); err != nil {
			t.Errorf("token: %v", err)
		}
	})
	mux.HandleFunc("/user", func(w http.ResponseWriter, r *http.Request) {
		token, err := s.ValidationBearerToken(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.issued = append(a.issued, token.GetAccess())
		if a.broken {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, a.user)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// withOAuth is a site that both providers are configured for, by environment as
// in production, and its log.
func withOAuth(t *testing.T, docs documents, live volatile) (s *site, github, twitter *authority, log *testbed.Output) {
	t.Helper()
	log = new(testbed.Output)
	api := func() string { return s.url }
	github = newAuthority(t, "github", `{"id":42,"login":"ann","avatar_url":"https://example.org/ann.png"}`, api)
	twitter = newAuthority(t, "twitter", `{"data":{"id":"42","username":"ann"}}`, api)
	environment := map[string]string{"POMODORO_FAKE_LOGIN": "1", "AUTH_RATE": "1000000"}
	for name, a := range map[string]*authority{"GITHUB": github, "TWITTER": twitter} {
		environment[name+"_CLIENT_ID"], environment[name+"_CLIENT_SECRET"] = clientID, clientSecret
		environment[name+"_AUTH_URL"], environment[name+"_TOKEN_URL"], environment[name+"_USER_URL"] = a.URL+"/authorize", a.URL+"/token", a.URL+"/user"
	}
	env := service.NewEnv(func(name string) string { return environment[name] })
	settings := settingsFrom(env)
	if err := env.Err(); err != nil {
		t.Fatal(err)
	}
	return serveWith(t, settings, docs, live, slog.New(slog.NewJSONHandler(log, nil))), github, twitter, log
}

// onEachPairWithOAuth plays a scene with logins that are configured.
func onEachPairWithOAuth(t *testing.T, scene func(t *testing.T, s *site, github, twitter *authority, log *testbed.Output)) {
	onEachPair(t, func(t *testing.T, plain *site) {
		s, github, twitter, log := withOAuth(t, plain.api.docs, plain.api.live)
		scene(t, s, github, twitter, log)
	})
}

// follow asks for an address of any host and returns where it leads.
func (v *visitor) follow(address string) *url.URL {
	v.t.Helper()
	resp, err := v.Get(address)
	if err != nil {
		v.t.Fatal(err)
	}
	resp.Body.Close()
	to, err := resp.Location()
	if err != nil || resp.StatusCode != http.StatusFound {
		v.t.Fatalf("GET %s = %s, Location %v", address, resp.Status, err)
	}
	return to
}

func TestLogin_WithAProviderEndsLoggedInAtTheSite(t *testing.T) {
	onEachPairWithOAuth(t, func(t *testing.T, s *site, _, _ *authority, _ *testbed.Output) {
		ids := map[any]bool{}
		for _, provider := range []string{"github", "twitter"} {
			v := visit(t, s.url, "")
			back := v.follow(v.follow(s.url + "/auth/" + provider).String())
			if end := v.follow(back.String()); end.String() != s.url+"/" {
				t.Errorf("%s ends at %s", provider, end)
			}
			who := v.says("GET", "/auth/info", "", 200)
			if who["username"] != "ann" || who["provider"] != provider {
				t.Errorf("%s: %v", provider, who)
			}
			ids[who["id"]] = true
			again := visit(t, s.url, "")
			again.follow(again.follow(again.follow(s.url + "/auth/" + provider).String()).String())
			if id := again.says("GET", "/auth/info", "", 200)["id"]; id != who["id"] {
				t.Errorf("%s: the second login is user %v, the first %v", provider, id, who["id"])
			}
		}
		if len(ids) != 2 {
			t.Errorf("id 42 of one provider is the same user as id 42 of the other: %v", ids)
		}
	})
}

func TestLogin_ThatFailsEndsAtTheSiteAndLoggedOut(t *testing.T) {
	onEachPairWithOAuth(t, func(t *testing.T, s *site, github, _ *authority, log *testbed.Output) {
		start := func(v *visitor) *url.URL { return v.follow(v.follow(s.url + "/auth/github").String()) }
		edit := func(u *url.URL, name, value string) string {
			q := u.Query()
			q.Set(name, value)
			changed := *u
			changed.RawQuery = q.Encode()
			return changed.String()
		}
		for name, attack := range map[string]func(v *visitor) string{
			"with the state of nobody":      func(v *visitor) string { return edit(start(v), "state", "made-up") },
			"without a state":               func(v *visitor) string { start(v); return s.url + "/auth/github/callback?code=x" },
			"with the state of a stranger":  func(v *visitor) string { start(v); return start(visit(t, s.url, "")).String() },
			"in a browser that never began": func(*visitor) string { return start(visit(t, s.url, "")).String() },
			"with a code that is none":      func(v *visitor) string { return edit(start(v), "code", "made-up") },
			"at the other provider": func(v *visitor) string {
				return strings.Replace(start(v).String(), "/auth/github/", "/auth/twitter/", 1)
			},
			"a second time": func(v *visitor) string {
				back := start(v)
				site, _ := url.Parse(s.url)
				kept := v.Jar.Cookies(site)
				v.follow(back.String())
				v.says("POST", "/auth/logout", "", 204)
				v.Jar.SetCookies(site, kept)
				return back.String()
			},
			"when the visitor cancels": func(v *visitor) string {
				github.mu.Lock()
				github.refuses = true
				github.mu.Unlock()
				defer func() {
					github.mu.Lock()
					github.refuses = false
					github.mu.Unlock()
				}()
				return start(v).String()
			},
		} {
			t.Run(name, func(t *testing.T) {
				v := visit(t, s.url, "")
				if end := v.follow(attack(v)); end.String() != s.url+"/" {
					t.Errorf("it ends at %s", end)
				}
				v.says("GET", "/auth/info", "", 401)
				if !strings.Contains(log.String(), "login failed") {
					t.Error("the log has no failed login")
				}
			})
		}
	})
}

func TestLog_SaysWhatAProviderAnsweredInPlaceOfAUser(t *testing.T) {
	s, github, _, log := withOAuth(t, memory(t), memory(t))
	github.mu.Lock()
	github.broken = true
	github.mu.Unlock()
	v := visit(t, s.url, "")
	v.follow(v.follow(v.follow(s.url + "/auth/github").String()).String())
	if want := `"error":"ask for the user: GET ` + github.URL + `/user: 502 Bad Gateway"`; !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %s:\n%s", want, log)
	}
}

func TestLogin_NeverLeadsToAnotherSite(t *testing.T) {
	onEachPairWithOAuth(t, func(t *testing.T, s *site, github, _ *authority, _ *testbed.Output) {
		for _, query := range []string{"next=https://evil.test/", "redirect_uri=https://evil.test/", "returnTo=//evil.test", "redirect=/\\evil.test"} {
			v := visit(t, s.url, "")
			to := v.follow(s.url + "/auth/github?" + query)
			if !strings.HasPrefix(to.String(), github.URL+"/authorize?") || strings.Contains(to.String(), "evil") {
				t.Errorf("?%s leads to %s", query, to)
			}
			back := v.follow(to.String())
			if end := v.follow(back.String() + "&" + query); end.String() != s.url+"/" {
				t.Errorf("?%s ends at %s", query, end)
			}
			if end := v.follow(s.url + "/auth/fake?" + query); end.String() != s.url+"/" {
				t.Errorf("fake?%s ends at %s", query, end)
			}
		}
	})
}

func TestLogin_ASessionCannotBePlanted(t *testing.T) {
	onEachPairWithOAuth(t, func(t *testing.T, s *site, _, _ *authority, _ *testbed.Output) {
		site, err := url.Parse(s.url)
		if err != nil {
			t.Fatal(err)
		}
		mallory := visit(t, s.url, "mallory")
		planted := mallory.Jar.Cookies(site)
		for name, cookies := range map[string][]*http.Cookie{
			"a session of somebody else":  planted,
			"a value that means nothing":  {{Name: sessionCookie, Value: "chosen"}},
			"the state of a login, begun": func() []*http.Cookie { mallory.follow(s.url + "/auth/github"); return mallory.Jar.Cookies(site) }(),
		} {
			t.Run(name, func(t *testing.T) {
				victim := visit(t, s.url, "")
				victim.Jar.SetCookies(site, cookies)
				victim.follow(victim.follow(victim.follow(s.url + "/auth/github").String()).String())
				if who := victim.says("GET", "/auth/info", "", 200); who["provider"] != "github" {
					t.Errorf("the victim is %v", who)
				}
				var now string
				for _, c := range victim.Jar.Cookies(site) {
					if c.Name == sessionCookie {
						now = c.Value
					}
				}
				for _, c := range cookies {
					if c.Value == now {
						t.Error("the planted value is the session")
					}
				}
				mallory.Jar.SetCookies(site, cookies)
				if status, _, who := mallory.ask("GET", "/auth/info", ""); status == 200 && who["provider"] == "github" {
					t.Error("who planted it is logged in as the victim")
				}
			})
		}
	})
}

func TestLog_HasNoSecrets(t *testing.T) {
	onEachPairWithOAuth(t, func(t *testing.T, s *site, github, _ *authority, log *testbed.Output) {
		v := visit(t, s.url, "")
		to := v.follow(s.url + "/auth/github")
		back := v.follow(to.String())
		v.follow(back.String())
		v.follow(back.String()) // fails, and is logged
		key := v.says("POST", "/auth/apikey", "", 201)["key"].(string)
		v.says("GET", "/api/todos", "", 200, "Authorization", "Bearer "+key)
		v.says("GET", "/api/todos", "", 401, "Authorization", "Bearer "+key+"x")
		site, _ := url.Parse(s.url)
		secrets := []string{clientSecret, key, to.Query().Get("state"), back.Query().Get("code"), to.Query().Get("code_challenge")}
		github.mu.Lock()
		secrets = append(secrets, github.issued...)
		github.mu.Unlock()
		for _, c := range v.Jar.Cookies(site) {
			secrets = append(secrets, c.Value)
		}
		said := log.String()
		if !strings.Contains(said, "login failed") || len(secrets) < 7 {
			t.Fatalf("the scene is not what it was: %d secrets\n%s", len(secrets), said)
		}
		for _, secret := range secrets {
			if secret == "" || strings.Contains(said, secret) {
				t.Errorf("the log has %q:\n%s", secret, said)
			}
		}
	})
}

func TestSettings_HalfAProviderIsToldWithTheVariableThatIsMissing(t *testing.T) {
	for given, missing := range map[string]string{"GITHUB_CLIENT_ID": "GITHUB_CLIENT_SECRET", "TWITTER_CLIENT_SECRET": "TWITTER_CLIENT_ID"} {
		env := service.NewEnv(func(name string) string { return map[string]string{given: "x", "PUBLIC_URL": "pomodoro.cc"}[name] })
		settingsFrom(env)
		if err := env.Err(); err == nil || !strings.Contains(err.Error(), missing+": ") || !strings.Contains(err.Error(), "PUBLIC_URL: ") {
			t.Errorf("only %s is set: %v, want %s and PUBLIC_URL named", given, err, missing)
		}
	}
}

func TestOpen_TellsEveryProblemAtOnceAndMakesNoFile(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	set := map[string]string{"DATA_DIR": data, "AUTH_RATE": "x", "GITHUB_CLIENT_ID": "a", "MONGO_URL": "nonsense", "PUBLIC_URL": "nowhere"}
	env := service.NewEnv(func(name string) string { return set[name] })
	env.Reject("LAME_DUCK", "is the frame's")
	if _, err := open(env, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("open: %v, want what is wrong in env alone", err)
	}
	said := env.Err().Error()
	for _, name := range []string{"LAME_DUCK", "AUTH_RATE", "GITHUB_CLIENT_SECRET", "MONGO_URL", "PUBLIC_URL"} {
		if !strings.Contains(said, name+": ") {
			t.Errorf("%s is not named in:\n%s", name, said)
		}
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("DATA_DIR was made: %v", err)
	}
}

func TestSettings_PublicURLIsSchemeAndHostWithOrWithoutASlash(t *testing.T) {
	for given, want := range map[string]string{
		"":                           "",
		"https://pomodoro.test":      "https://pomodoro.test",
		"https://pomodoro.test/":     "https://pomodoro.test",
		"http://pomodoro.test:8080/": "http://pomodoro.test:8080",
		"https://pomodoro.test/app":  "refused",
		"https://pomodoro.test//":    "refused",
		"https://pomodoro.test/?a=b": "refused",
		"https://pomodoro.test?":     "refused",
		"https://pomodoro.test#a":    "refused",
		"https://ann@pomodoro.test":  "refused",
		"ftp://pomodoro.test":        "refused",
		"https://:443":               "refused",
		"pomodoro.test":              "refused",
	} {
		env := service.NewEnv(func(name string) string { return map[string]string{"PUBLIC_URL": given}[name] })
		got := settingsFrom(env).public
		if err := env.Err(); err != nil {
			got = "refused"
			if !strings.Contains(err.Error(), "PUBLIC_URL: ") {
				t.Errorf("PUBLIC_URL=%s: %v does not name it", given, err)
			}
		}
		if got != want {
			t.Errorf("PUBLIC_URL=%s is %q, want %q", given, got, want)
		}
	}
}
