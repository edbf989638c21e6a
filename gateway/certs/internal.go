package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// authority signs certificates for names that no public authority knows. It is
// made once; ca.crt is what browsers and tests trust.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer

	mu    sync.Mutex // guards the fields below
	hosts []string
	leaf  *tls.Certificate
}

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour
)

func newAuthority(o Options) (*authority, error) {
	a, err := openAuthority(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("local authority in %s: %w", o.Dir, err)
	}
	return a, a.change(o.Hosts, nil)
}

func openAuthority(dir string) (*authority, error) {
	crt, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	pair, err := tls.LoadX509KeyPair(crt, key)
	switch {
	case err == nil:
		signer, ok := pair.PrivateKey.(crypto.Signer)
		if !ok {
			return nil, errors.New("ca.key cannot sign")
		}
		return &authority{cert: pair.Leaf, key: signer}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w; remove ca.crt and ca.key for a new one", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "pomodoro-main local authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	// The key first: a certificate without its key would never be completed.
	if err := write(key, "PRIVATE KEY", secret, 0o600); err != nil {
		return nil, err
	}
	if err := write(crt, "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert: cert, key: private}, err
}

func write(path, kind string, der []byte, mode os.FileMode) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	return n
}

// certificate returns the leaf, a new one before the last has run out.
func (a *authority) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Until(a.leaf.Leaf.NotAfter) <= leafLife/3 {
		leaf, err := a.sign(a.hosts)
		if err != nil {
			return nil, err
		}
		a.leaf = leaf
	}
	return a.leaf, nil
}

func (a *authority) change(hosts []string, _ []Pair) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leaf != nil && slices.Equal(hosts, a.hosts) {
		return nil
	}
	leaf, err := a.sign(hosts)
	if err != nil {
		return err
	}
	a.hosts, a.leaf = hosts, leaf
	return nil
}

func (a *authority) expiries() map[string]time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	ends := map[string]time.Time{}
	for _, name := range names(a.leaf.Leaf) {
		ends[name] = a.leaf.Leaf.NotAfter
	}
	return ends
}

// run has nothing to do: a handshake makes a new leaf when it is time.
func (a *authority) run(context.Context) {}

// sign makes a leaf for hosts.
func (a *authority) sign(hosts []string) (*tls.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range append([]string{"localhost", "127.0.0.1", "::1"}, hosts...) {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: private, Leaf: leaf}, nil
}
