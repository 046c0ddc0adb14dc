// Package httpclient makes HTTP clients for the services that Gatekeeper asks or tells by their
// address: metric backends, Alertmanagers, receivers of messages, the targets of rollbacks. A client
// sends to its own connection's host and to no other: whatever an answer redirects to, whatever a health
// file holds, and whatever proxy the environment names. Certificates are named by file, credentials by file or
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
	// ProxyURL is the proxy that requests go through, http or https, without credentials. Default none:
	// HTTP_PROXY and its like in the environment name none for a daemon.
	ProxyURL string `yaml:"proxy_url,omitempty" json:"proxy_url,omitempty"`
	// ProxyFromEnvironment is for commands, whose environment is that of the person who runs them.
	ProxyFromEnvironment bool `yaml:"-" json:"-"`
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
	if _, err := c.proxy(); err != nil {
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
	if c.URL == "" {
		return nil, invalid(hint, "url is missing")
	}
	return address("url", c.URL, hint, "use basic_auth with a password_file")
}

// proxy gives the parsed ProxyURL; nil: none.
func (c Config) proxy() (*url.URL, error) {
	if c.ProxyURL == "" {
		return nil, nil
	}
	const hint = "give it as http://host:port"
	u, err := address("proxy_url", c.ProxyURL, hint, "a proxy that asks for them can't be used")
	if err == nil && u.Path != "" {
		return nil, invalid(hint, "proxy_url holds a path")
	}
	return u, err
}

// address reads the address that a key holds. The hints say what to do about a wrong one, and about credentials.
func address(key, text, hint, login string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		// The parser's error quotes the address, which may hold a password.
		return nil, invalid(hint, "%s is not a valid address", key)
	case u.User != nil:
		return nil, invalid(login, "%s holds credentials", key)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, invalid(hint, "%s begins with %q, want http or https", key, u.Scheme)
	case u.Host == "":
		return nil, invalid(hint, "%s names no host", key)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, invalid("leave away what follows ? or #", "%s holds a query or a fragment", key)
	}
	u.Host = strings.TrimSuffix(u.Host, ":") // no port after it: requests leave it away, too
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

// New gives a client that sends to the host of URL only, and never follows a redirect: credentials stay with
// the host they are for. Other addresses are the connection's own where one of also says so. Certificates and
// keys are read at once: one that can't be used is an error.
func (c Config) New(name string, also ...func(*url.URL) bool) (*http.Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	settings, err := c.settings()
	if err != nil {
		return nil, err
	}
	client, err := commoncfg.NewClientFromConfig(settings, name, commoncfg.WithUserAgent("gatekeeper"))
	if err != nil {
		return nil, invalid("check that the files under tls exist and hold PEM", "%s: %v", name, err)
	}
	base, err := c.Base()
	if err != nil {
		return nil, err
	}
	client.Transport = home{base: base, also: also, next: client.Transport}
	return client, nil
}

func (c Config) settings() (commoncfg.HTTPClientConfig, error) {
	settings := commoncfg.HTTPClientConfig{
		EnableHTTP2: true,
		TLSConfig: commoncfg.TLSConfig{
			CAFile: c.TLS.CAFile, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile,
			ServerName: c.TLS.ServerName, InsecureSkipVerify: c.TLS.InsecureSkipVerify,
		},
	}
	proxy, err := c.proxy()
	if err != nil {
		return settings, err
	}
	settings.ProxyURL.URL = proxy
	settings.ProxyFromEnvironment = c.ProxyFromEnvironment && proxy == nil
	if c.BearerTokenFile != "" {
		settings.Authorization = &commoncfg.Authorization{Type: "Bearer"}
		if settings.Authorization.Credentials, settings.Authorization.CredentialsFile, err = reference(c.BearerTokenFile); err != nil {
			return settings, err
		}
	}
	if b := c.BasicAuth; b != nil {
		settings.BasicAuth = &commoncfg.BasicAuth{Username: b.Username}
		if settings.BasicAuth.Password, settings.BasicAuth.PasswordFile, err = reference(b.PasswordFile); err != nil {
			return settings, err
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
				return settings, err
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
	return settings, nil
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
