package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// certificate writes tls.crt and tls.key, which trusts itself as server and as client.
func certificate(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for file, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600))
	}
}

const mutual = `tls_server_config:
  cert_file: tls.crt
  key_file: tls.key
  client_ca_file: tls.crt
  client_auth_type: RequireAndVerifyClientCert
`

// The daemon by mTLS, asked by the command line that shows a certificate and by one that doesn't.
func TestDaemonByMutualTLS(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "alice")
	health, web := filepath.Join(dir, "health.yml"), filepath.Join(dir, "web.yml")
	require.NoError(t, os.WriteFile(health, []byte(withFlag), 0o600))
	require.NoError(t, os.WriteFile(web, []byte(mutual), 0o600))
	path := filepath.Join(dir, "gatekeeper.yml")
	require.NoError(t, os.WriteFile(path, []byte("listen: 127.0.0.1:0\ndata_dir: data\nweb_config_file: web.yml\n"), 0o600))
	said := &log{}
	stop := daemonOf(t, path, said)
	url := "https://" + address.FindStringSubmatch(said.String())[1]

	gk(t, 7, "release", "list", "--url", url)
	t.Setenv("GATEKEEPER_URL", url)
	t.Setenv("GATEKEEPER_CA_FILE", filepath.Join(dir, "tls.crt"))
	gk(t, 7, "release", "list")
	t.Setenv("GATEKEEPER_CERT_FILE", filepath.Join(dir, "tls.crt"))
	t.Setenv("GATEKEEPER_KEY_FILE", filepath.Join(dir, "tls.key"))
	require.Eventually(t, func() bool {
		return run(t.Context(), []string{"release", "list"}, io.Discard, io.Discard) == 0
	}, 30*time.Second, 10*time.Millisecond)
	require.Contains(t, gk(t, 0, "release", "open", "--version", "2", "--previous-version", "1", "-f", health, "--watch-only", "--actor", "bob", "-o", "json"), `"opened_by": "alice (bob)"`)
	require.Equal(t, 0, stop(), "%s", said)
}

func TestWebConfigMustAuthenticate(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "alice")
	const users = "basic_auth_users: {a: $2a$04$HxUh2osW2an1IsuGhQgVuu17.ydLSImynn9r3zMRtqtNBw8OeCOZu}\n"
	for _, tt := range []struct{ web, more, want string }{
		{strings.Split(mutual, "  client_ca")[0], "", "asks nobody who they are"},
		{users, "tokens: [{name: ci, scopes: [open], token_hash: 'sha256:" + strings.Repeat("0", 64) + "'}]\n", "there can't be both"},
		{"tls: {}\n", "", ":3:18: error: the web configuration can't be used"},
	} {
		path := filepath.Join(dir, "gatekeeper.yml")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "web.yml"), []byte(tt.web), 0o600))
		require.NoError(t, os.WriteFile(path, []byte("listen: 0.0.0.0:0\nexternal_url: https://x\nweb_config_file: web.yml\n"+tt.more), 0o600))
		var errs bytes.Buffer
		require.Equal(t, exitUsage, run(t.Context(), []string{"serve", "--config", path}, io.Discard, &errs))
		require.Contains(t, errs.String(), tt.want)
	}
}
