package webconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority makes certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &authority{t: t, dir: t.TempDir(), key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &key.PublicKey, key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.file("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func (a *authority) file(name string, text []byte) string {
	path := filepath.Join(a.dir, name)
	require.NoError(a.t, os.WriteFile(path, text, 0o600))
	return path
}

// issue writes NAME.crt and NAME.key and gives both.
func (a *authority) issue(name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	cert, private := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	a.file(name+".crt", cert)
	a.file(name+".key", private)
	pair, err := tls.X509KeyPair(cert, private)
	require.NoError(a.t, err)
	return pair
}

// answers serves by a file; every answer is the name by which the client is known.
func answers(t *testing.T, f File) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, ok := f.Known(r); ok {
			_, _ = io.WriteString(w, name)
			return
		}
		w.WriteHeader(http.StatusForbidden)
	})}
	done := make(chan error, 1)
	go func() { done <- f.Serve(l, srv, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return l.Addr().String()
}

func ask(t *testing.T, url string, config *tls.Config, user string) (int, string, error) {
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if user != "" {
		req.SetBasicAuth(user, "secret")
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

func TestClientCertificates(t *testing.T) {
	ca := newAuthority(t)
	ca.issue("server")
	alice, mallory := ca.issue("alice"), newAuthority(t).issue("alice")
	f, err := Read(ca.file("web.yml", []byte(`tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_ca_file: ca.pem
  client_auth_type: RequireAndVerifyClientCert
`)))
	require.NoError(t, err)
	require.True(t, f.TLS && f.Certificates && f.Authenticates() && !f.Users)
	address := answers(t, f)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)

	status, name, err := ask(t, "https://"+address, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{alice}}, "")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Equal(t, "alice", name)
	_, _, err = ask(t, "https://"+address, &tls.Config{RootCAs: roots}, "")
	require.Error(t, err, "no certificate")
	_, _, err = ask(t, "https://"+address, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{mallory}}, "")
	require.Error(t, err, "one of another authority")
	status, _, err = ask(t, "http://"+address, nil, "")
	require.NoError(t, err)
	require.Equal(t, 400, status, "not without TLS")
}

func TestUsers(t *testing.T) {
	const hash = "$2a$04$HxUh2osW2an1IsuGhQgVuu17.ydLSImynn9r3zMRtqtNBw8OeCOZu" // of "secret"
	path := filepath.Join(t.TempDir(), "web.yml")
	require.NoError(t, os.WriteFile(path, []byte("basic_auth_users:\n  alice: "+hash+"\n"), 0o600))
	f, err := Read(path)
	require.NoError(t, err)
	require.True(t, f.Users && f.Authenticates() && !f.TLS)
	url := "http://" + answers(t, f)

	status, name, err := ask(t, url, nil, "alice")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Equal(t, "alice", name)
	for _, user := range []string{"", "bob"} {
		status, _, err = ask(t, url, nil, user)
		require.NoError(t, err)
		require.Equal(t, 401, status, user)
	}
	// The toolkit lets everybody in from now on; we know nobody.
	require.NoError(t, os.WriteFile(path, []byte("{}\n"), 0o600))
	status, _, err = ask(t, url, nil, "alice")
	require.NoError(t, err)
	require.Equal(t, 403, status)
}

func TestBadFiles(t *testing.T) {
	f, err := Read("")
	require.NoError(t, err)
	require.False(t, f.TLS || f.Authenticates())
	path := filepath.Join(t.TempDir(), "web.yml")
	for _, text := range []string{"tls: {}\n", "basic_auth_users: {a: plain}\n", "tls_server_config: {cert_file: none, key_file: none}\n"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := Read(path)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), "%s: %v", text, err)
		require.NotContains(t, err.Error(), "plain")
	}
	_, err = Read(path + ".none")
	require.Error(t, err)
}
