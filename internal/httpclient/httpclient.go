// Package httpclient makes HTTP clients for the services that Gatekeeper asks or tells by their
// address: metric backends and Alertmanagers. Certificates are named by file, credentials by file or
// environment variable (package secret); files are
// read again when they change (prometheus/common/config does that). They never appear in an error.
package httpclient

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	commoncfg "github.com/prometheus/common/config"
	"golang.org/x/net/http/httpguts"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/secret"
)

// Config is the address of a service and how to be let in.
type Config struct {
	// URL is the service's base address, http or https; a path prefix is kept. It holds no
	// credentials and no query.
	URL string `yaml:"url" json:"url"`
	// Headers go with every request as they are. They are not secret: use HeadersFromFiles for those.
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"`
	// HeadersFromFiles names for each header the file that holds its value.
	HeadersFromFiles map[string]string `yaml:"headers_from_files,omitempty" json:"headers_from_files,omitempty"`
	// BearerTokenFile holds the token of "Authorization: Bearer".
	BearerTokenFile string     `yaml:"bearer_token_file,omitempty" json:"bearer_token_file,omitempty"`
	BasicAuth       *BasicAuth `yaml:"basic_auth,omitempty" json:"basic_auth,omitempty"`
	TLS             TLS        `yaml:"tls,omitempty" json:"tls,omitzero"`
}

// BasicAuth is a user with the file that holds the password.
type BasicAuth struct {
	Username     string `yaml:"username" json:"username"`
	PasswordFile string `yaml:"password_file" json:"password_file"`
}

// TLS says whom to trust and what to show. Files hold PEM.
type TLS struct {
	CAFile             string `yaml:"ca_file,omitempty" json:"ca_file,omitempty"`     // trusted instead of the system's
	CertFile           string `yaml:"cert_file,omitempty" json:"cert_file,omitempty"` // the client's own
	KeyFile            string `yaml:"key_file,omitempty" json:"key_file,omitempty"`
	ServerName         string `yaml:"server_name,omitempty" json:"server_name,omitempty"` // expected in the server's certificate
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify,omitempty" json:"insecure_skip_verify,omitempty"`
}

// Validate says what is wrong with the settings, without touching a file or the network.
func (c Config) Validate() error {
	if _, err := c.Base(); err != nil {
		return err
	}
	if c.BasicAuth != nil && c.BearerTokenFile != "" {
		return invalid("keep one of them", "basic_auth and bearer_token_file exclude each other")
	}
	if b := c.BasicAuth; b != nil && (b.Username == "" || b.PasswordFile == "") {
		return invalid("set both", "basic_auth needs username and password_file")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return invalid("set both or none", "tls: cert_file and key_file belong together")
	}
	return c.validateHeaders()
}

func (c Config) validateHeaders() error {
	seen := map[string]bool{}
	names := slices.Concat(slices.Sorted(maps.Keys(c.Headers)), slices.Sorted(maps.Keys(c.HeadersFromFiles)))
	for _, name := range names {
		canonical := http.CanonicalHeaderKey(name)
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(c.Headers[name]) {
			return invalid("", "header %q: not a valid name or value of an HTTP header", name)
		}
		if _, reserved := commoncfg.ReservedHeaders[canonical]; reserved {
			return invalid("use basic_auth or bearer_token_file for credentials", "header %q can't be set", name)
		}
		if seen[canonical] {
			return invalid("keep one of them", "header %q is set twice", name)
		}
		seen[canonical] = true
	}
	return nil
}

// Base gives the parsed URL without a trailing slash.
func (c Config) Base() (*url.URL, error) {
	const hint = "give it as http://host:port or https://host/prefix"
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		return nil, invalid(hint, "url is missing")
	case err != nil:
		// The parser's error quotes the address, which may hold a password.
		return nil, invalid(hint, "url is not a valid address")
	case u.User != nil:
		return nil, invalid("use basic_auth with a password_file", "url holds credentials")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, invalid(hint, "url begins with %q, want http or https", u.Scheme)
	case u.Host == "":
		return nil, invalid(hint, "url names no host")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, invalid("leave away what follows ? or #", "url holds a query or a fragment")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

// New gives a client that never follows a redirect, so that credentials stay with the host they
// are for. Certificates and keys are read at once: one that can't be used is an error.
func (c Config) New(name string) (*http.Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	settings := commoncfg.HTTPClientConfig{
		EnableHTTP2: true,
		TLSConfig: commoncfg.TLSConfig{
			CAFile: c.TLS.CAFile, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile,
			ServerName: c.TLS.ServerName, InsecureSkipVerify: c.TLS.InsecureSkipVerify,
		},
	}
	settings.ProxyFromEnvironment = true
	var err error
	if c.BearerTokenFile != "" {
		settings.Authorization = &commoncfg.Authorization{Type: "Bearer"}
		if settings.Authorization.Credentials, settings.Authorization.CredentialsFile, err = reference(c.BearerTokenFile); err != nil {
			return nil, err
		}
	}
	if b := c.BasicAuth; b != nil {
		settings.BasicAuth = &commoncfg.BasicAuth{Username: b.Username}
		if settings.BasicAuth.Password, settings.BasicAuth.PasswordFile, err = reference(b.PasswordFile); err != nil {
			return nil, err
		}
	}
	if len(c.Headers)+len(c.HeadersFromFiles) > 0 {
		settings.HTTPHeaders = &commoncfg.Headers{Headers: map[string]commoncfg.Header{}}
		for name, value := range c.Headers {
			settings.HTTPHeaders.Headers[name] = commoncfg.Header{Values: []string{value}}
		}
		for name, from := range c.HeadersFromFiles {
			value, file, err := reference(from)
			if err != nil {
				return nil, err
			}
			header := commoncfg.Header{}
			if file != "" {
				header.Files = []string{file}
			} else {
				header.Secrets = []commoncfg.Secret{value}
			}
			settings.HTTPHeaders.Headers[name] = header
		}
	}
	client, err := commoncfg.NewClientFromConfig(settings, name, commoncfg.WithUserAgent("gatekeeper"))
	if err != nil {
		return nil, invalid("check that the files under tls exist and hold PEM", "%s: %v", name, err)
	}
	return client, nil
}

// reference gives the secret of an environment variable, or the file, which is read for every request.
func reference(to string) (value commoncfg.Secret, file string, err error) {
	if _, ok := secret.Variable(to); !ok {
		return "", to, nil
	}
	text, err := secret.Read(to)
	return commoncfg.Secret(text), "", err
}

func invalid(hint, format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "%s", fmt.Sprintf(format, args...))
}
