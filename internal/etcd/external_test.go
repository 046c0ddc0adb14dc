package etcd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/journaltest"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

// programDir is where program builds; [TestMain] makes and removes it.
var programDir string

// program builds etcd's own server, of the version that go.mod names, once: a matter of seconds.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programDir, "etcd")
	out, err := exec.Command("go", "build", "-o", path, "go.etcd.io/etcd/server/v3").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// real is an etcd server in a process of its own.
type real struct {
	t      *testing.T
	scheme string
	dir    string
	client string // host:port
	args   []string
	cmd    *exec.Cmd
	said   *bytes.Buffer
}

// realEtcd starts an etcd on free ports of the loopback; more are arguments.
func realEtcd(t *testing.T, scheme string, more ...string) *real {
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	r := &real{t: t, scheme: scheme, dir: t.TempDir(), client: servertest.Address(t)}
	peer := "http://" + servertest.Address(t)
	r.args = append([]string{
		path, "--name", "m", "--data-dir", r.dir, "--listen-client-urls", r.endpoint(), "--advertise-client-urls", r.endpoint(),
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "m=" + peer,
		"--heartbeat-interval", "10", "--election-timeout", "100", "--log-level", "warn",
	}, more...)
	r.start()
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("etcd said:\n%s", r.said)
		}
	})
	return r
}

func (r *real) endpoint() string { return r.scheme + "://" + r.client }

func (r *real) start() {
	r.said = &bytes.Buffer{}
	r.cmd = exec.Command(r.args[0], r.args[1:]...)
	r.cmd.Stdout, r.cmd.Stderr = r.said, r.said
	require.NoError(r.t, r.cmd.Start())
	require.Eventually(r.t, func() bool {
		conn, err := net.Dial("tcp", r.client)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, 30*time.Second, 10*time.Millisecond)
}

// kill ends etcd without warning.
func (r *real) kill() {
	if r.cmd.ProcessState == nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	}
}

func connect(t *testing.T, cfg ExternalConfig) *External {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	x, err := Connect(ctx, cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, x.Close()) })
	return x
}

func openAt(t *testing.T, x *External) *Journal {
	t.Helper()
	j, err := x.OpenJournal(t.Context())
	require.NoError(t, err)
	return j
}

// The suite that the embedded store passes, over TCP and below a prefix; a restart is a
// kill -9 of the server.
func TestJournalOfRealEtcd(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Setup {
		server := realEtcd(t, "http")
		cfg := ExternalConfig{Endpoints: []string{server.endpoint()}, Prefix: "/team-a"}
		x := connect(t, cfg)
		return journaltest.Setup{
			Journal:  openAt(t, x),
			TakeOver: func(t *testing.T) gatekeeper.Journal { return openAt(t, connect(t, cfg)) },
			Reopen: func(t *testing.T) gatekeeper.Journal {
				server.kill()
				server.start()
				return openAt(t, connect(t, cfg))
			},
			Forget: func(t *testing.T) {
				resp, err := x.Client().Get(t.Context(), ownerKey)
				require.NoError(t, err)
				_, err = x.Client().Compact(t.Context(), resp.Header.Revision)
				require.NoError(t, err)
			},
			Damage: func(t *testing.T, hash string) {
				key := chunkKey(hash, 0)
				resp, err := x.Client().Get(t.Context(), key)
				require.NoError(t, err)
				value := resp.Kvs[0].Value
				value[0] ^= 1
				_, err = x.Client().Put(t.Context(), key, string(value))
				require.NoError(t, err)
			},
			Backlog: Backlog,
		}
	})
}

// A lost server is told within a bounded time, and the same connection goes on when it is back.
func TestRealEtcdGoesAndComesBack(t *testing.T) {
	server := realEtcd(t, "http")
	x := connect(t, ExternalConfig{Endpoints: []string{server.endpoint()}})
	j := openAt(t, x)
	twoReleases(t, j)
	require.NoError(t, x.Ready())
	changes := make(chan gatekeeper.Change, 10)
	ctx, cancel := context.WithCancel(t.Context())
	watch, done := j.Watch(ctx, -1), make(chan struct{})
	go func() {
		defer close(done)
		for c, err := range watch {
			if err == nil {
				changes <- c
			}
		}
	}()

	server.kill()
	began := time.Now()
	err := commit(j, t, "new", 2, "nobody hears this")
	require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err), "%v", err)
	require.Less(t, time.Since(began), 4*answerWithin)
	require.Eventually(t, func() bool { return x.Ready() != nil }, 30*time.Second, 50*time.Millisecond)

	server.start()
	require.Eventually(t, func() bool { return x.Ready() == nil }, 30*time.Second, 50*time.Millisecond)
	require.NoError(t, commit(j, t, "new", 2, "back"))
	require.Equal(t, gatekeeper.Noted{Text: "back"}, (<-changes).Fact.Body)
	cancel()
	<-done
	report, err := Verify(t.Context(), x.Client(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Faults)
	require.Equal(t, 2, report.Releases)

	_, err = x.Snapshot(t.Context())
	require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
	require.NoError(t, commit(openAt(t, x), t, "new", 3, "the new owner"))
	require.ErrorIs(t, commit(j, t, "new", 4, "too late"), gatekeeper.ErrFenced)
}

func TestConnectGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := Connect(ctx, ExternalConfig{Endpoints: []string{"http://" + servertest.Address(t)}}, nil)
	require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err), "%v", err)
	require.ErrorContains(t, err, "open releases are not watched")
}

// Certificates of both sides, and etcd's own users who may touch only what is below their prefix.
func TestRealEtcdWithCertificatesAndUsers(t *testing.T) {
	certs := newCerts(t)
	server := realEtcd(t, "https", "--client-cert-auth", "--trusted-ca-file", certs.ca, "--cert-file", certs.issue("server"), "--key-file", certs.key("server"))
	trusted := TLS{CAFile: certs.ca, CertFile: certs.issue("gatekeeper"), KeyFile: certs.key("gatekeeper")}
	admin := connect(t, ExternalConfig{Endpoints: []string{server.endpoint()}, TLS: trusted}).Client()
	ctx := t.Context()
	_, err := admin.UserAdd(ctx, "root", "root-secret")
	require.NoError(t, err)
	_, err = admin.UserGrantRole(ctx, "root", "root")
	require.NoError(t, err)
	_, err = admin.RoleAdd(ctx, "team")
	require.NoError(t, err)
	below := "/team/gatekeeper/v1/"
	_, err = admin.RoleGrantPermission(ctx, "team", below, clientv3.GetPrefixRangeEnd(below), clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
	_, err = admin.UserAdd(ctx, "gatekeeper", "a-secret")
	require.NoError(t, err)
	_, err = admin.UserGrantRole(ctx, "gatekeeper", "team")
	require.NoError(t, err)
	_, err = admin.AuthEnable(ctx)
	require.NoError(t, err)

	password := func(text string) string {
		path := filepath.Join(t.TempDir(), "password")
		require.NoError(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
		return path
	}
	good := ExternalConfig{
		Endpoints: []string{server.endpoint()}, TLS: trusted, Username: "gatekeeper", PasswordFile: password("a-secret"), Prefix: "/team",
	}
	x := connect(t, good)
	twoReleases(t, openAt(t, x))
	report, err := Verify(ctx, x.Client(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Faults)

	for name, test := range map[string]struct {
		change func(*ExternalConfig)
		final  bool // told at once, without trying again
		says   string
	}{
		"a wrong password":       {func(c *ExternalConfig) { c.PasswordFile = password("another-secret") }, true, "authentication failed"},
		"another's prefix":       {func(c *ExternalConfig) { c.Prefix = "/others" }, true, "permission denied"},
		"no password file":       {func(c *ExternalConfig) { c.PasswordFile += ".none" }, true, "password can't be read"},
		"a certificate not read": {func(c *ExternalConfig) { c.TLS.CAFile += ".none" }, true, "no such file"},
		"no certificate":         {func(c *ExternalConfig) { c.TLS.CertFile, c.TLS.KeyFile = "", "" }, false, "certificate required"},
		"an untrusted server":    {func(c *ExternalConfig) { c.TLS.CAFile = newCerts(t).ca }, false, "unknown authority"},
	} {
		cfg := good
		test.change(&cfg)
		within := time.Second
		if test.final {
			within = 20 * time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		_, err := Connect(ctx, cfg, nil)
		require.ErrorContains(t, err, test.says, name)
		require.Equal(t, test.final, ctx.Err() == nil, "%s: %v", name, err)
		cancel()
		require.NotContains(t, err.Error(), "another-secret", name)
	}
}

func TestExternalConfigIsChecked(t *testing.T) {
	ok := []string{"https://etcd-1:2379", "https://etcd-2:2379"}
	for name, cfg := range map[string]ExternalConfig{
		"no endpoint":          {},
		"no scheme":            {Endpoints: []string{"etcd:2379"}},
		"no port":              {Endpoints: []string{"https://etcd"}},
		"a path":               {Endpoints: []string{"https://etcd:2379/v3"}},
		"credentials":          {Endpoints: []string{"https://a:b-secret@etcd:2379"}},
		"half a certificate":   {Endpoints: ok, TLS: TLS{CertFile: "x"}},
		"tls over http":        {Endpoints: []string{"http://etcd:2379"}, TLS: TLS{CAFile: "x"}},
		"a user alone":         {Endpoints: ok, Username: "u"},
		"a password in clear":  {Endpoints: []string{"http://etcd:2379"}, Username: "u", PasswordFile: "x"},
		"a prefix not a path":  {Endpoints: ok, Prefix: "team"},
		"a prefix with an end": {Endpoints: ok, Prefix: "/team/"},
	} {
		err := cfg.Validate()
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), name)
		require.NotContains(t, err.Error(), "secret", name)
	}
	require.NoError(t, ExternalConfig{Endpoints: ok, Username: "u", PasswordFile: "x", Prefix: "/team/a", TLS: TLS{CAFile: "x"}}.Validate())
}

// certs is a certificate authority for one test.
type certs struct {
	t      *testing.T
	dir    string
	ca     string // the file of its certificate
	own    *x509.Certificate
	secret *ecdsa.PrivateKey
}

func newCerts(t *testing.T) *certs {
	t.Helper()
	c := &certs{t: t, dir: t.TempDir()}
	c.secret = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test's authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.secret.Public(), c.secret)
	require.NoError(t, err)
	c.own, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	c.ca = c.write("ca.crt", "CERTIFICATE", der)
	return c
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// issue makes a certificate for both sides of a connection and gives its file.
func (c *certs) issue(name string) string {
	key := newKey(c.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.own, key.Public(), c.secret)
	require.NoError(c.t, err)
	secret, err := x509.MarshalECPrivateKey(key)
	require.NoError(c.t, err)
	c.write(name+".key", "EC PRIVATE KEY", secret)
	return c.write(name+".crt", "CERTIFICATE", der)
}

func (c *certs) key(name string) string { return filepath.Join(c.dir, name+".key") }

func (c *certs) write(name, kind string, der []byte) string {
	path := filepath.Join(c.dir, name)
	require.NoError(c.t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}
