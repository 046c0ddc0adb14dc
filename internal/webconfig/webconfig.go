// Package webconfig serves by the file that Prometheus and its exporters know as
// --web.config.file (exporter-toolkit, docs/web-configuration.md): TLS, client certificates, basic
// auth and response headers. The toolkit reads the file again for every connection and request, so
// a new certificate or user needs no reload.
package webconfig

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

// File is such a file. The zero File stands for none: plain HTTP, and nobody is known.
type File struct {
	path string

	TLS          bool // it is served by TLS
	Users        bool // it has users for basic auth
	Certificates bool // every client must show a certificate of a known authority
}

// Read reads and checks the file at path; "" gives the zero File. Errors hold none of its secrets.
func Read(path string) (File, error) {
	if path == "" {
		return File{}, nil
	}
	if err := web.Validate(path); err != nil {
		return File{}, bad(err)
	}
	c, err := parse(path)
	if err != nil {
		return File{}, bad(err)
	}
	return File{
		path: path, TLS: c.TLSConfig.IsEnabled(), Users: len(c.Users) > 0,
		Certificates: c.TLSConfig.ClientAuth == "RequireAndVerifyClientCert",
	}, nil
}

func bad(err error) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, "see exporter-toolkit's documentation of --web.config.file",
		"the web configuration can't be used: %w", err)
}

func parse(path string) (*web.Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var c web.Config
	if err := yaml.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &c, nil
}

// Authenticates says whether nobody unknown is served.
func (f File) Authenticates() bool { return f.Users || f.Certificates }

// Serve serves connections of l until the server ends, as [http.Server.Serve] does.
func (f File) Serve(l net.Listener, srv *http.Server, log *slog.Logger) error {
	if f.path == "" {
		return srv.Serve(l)
	}
	return web.Serve(l, srv, &web.FlagConfig{WebConfigFile: &f.path}, log)
}

// Known gives the name of a client that [File.Serve] has authenticated: the common name of its
// certificate, or its user. The file is looked at again, for a user that the toolkit has not asked
// for a password, because the file has no users any more, is nobody.
func (f File) Known(r *http.Request) (name string, ok bool) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		shown := r.TLS.PeerCertificates[0]
		switch {
		case shown.Subject.CommonName != "":
			return shown.Subject.CommonName, true
		case len(shown.DNSNames) > 0:
			return shown.DNSNames[0], true
		case len(shown.URIs) > 0:
			return shown.URIs[0].String(), true
		}
		return shown.Subject.String(), true
	}
	user, _, ok := r.BasicAuth()
	if !ok || f.path == "" {
		return "", false
	}
	c, err := parse(f.path)
	if err != nil {
		return "", false // the toolkit refuses everybody then, and says why
	}
	_, ok = c.Users[user]
	return user, ok
}
