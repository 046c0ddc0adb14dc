// Package httpaction calls an HTTP endpoint to take a release back: a deployment system's own
// rollback call, or any webhook. Only the operator's connection says which host is called and
// with which credentials.
package httpaction

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"golang.org/x/net/http/httpguts"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
)

// Kind is the kind of connection that the actions of this package need.
const Kind = "http"

const maxBody = 64 << 10 // bytes of a request's body

type connection struct {
	URL              string            `json:"url" required:"true" doc:"base URL, http or https; every path of a health file stays below it"`
	ProxyURL         string            `json:"proxy_url" doc:"proxy that requests go through; those of the environment are ignored"`
	Headers          map[string]string `json:"headers" doc:"headers of every request; not for secrets"`
	HeadersFromFiles map[string]string `json:"headers_from_files" doc:"headers whose values are read from these files"`
	BearerTokenFile  string            `json:"bearer_token_file" doc:"file with the token of Authorization: Bearer"`
	BasicAuth        *basicAuth        `json:"basic_auth" doc:"user and password"`
	TLS              tls               `json:"tls" doc:"whom to trust and what to show"`
}

type basicAuth struct {
	Username     string `json:"username" required:"true" doc:"the user"`
	PasswordFile string `json:"password_file" required:"true" doc:"file with the password"`
}

type tls struct {
	CAFile     string `json:"ca_file" doc:"PEM file of the authorities to trust instead of the system's"`
	CertFile   string `json:"cert_file" doc:"PEM file of the client's certificate"`
	KeyFile    string `json:"key_file" doc:"PEM file of its key"`
	ServerName string `json:"server_name" doc:"name expected in the server's certificate"`
}

func (c *connection) config() httpclient.Config {
	config := httpclient.Config{
		URL: c.URL, ProxyURL: c.ProxyURL, Headers: c.Headers, HeadersFromFiles: c.HeadersFromFiles, BearerTokenFile: c.BearerTokenFile,
		TLS: httpclient.TLS{CAFile: c.TLS.CAFile, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, ServerName: c.TLS.ServerName},
	}
	if c.BasicAuth != nil {
		config.BasicAuth = &httpclient.BasicAuth{Username: c.BasicAuth.Username, PasswordFile: c.BasicAuth.PasswordFile}
	}
	return config
}

// Validate checks the address and that the credentials make sense together.
func (c *connection) Validate() error { return c.config().Validate() }

type settings struct {
	Method    string                 `json:"method" default:"POST" doc:"POST, PUT, PATCH or DELETE"`
	Path      string                 `json:"path" default:"/" doc:"path below the connection's URL; may hold placeholders"`
	Headers   map[string]string      `json:"headers" doc:"further headers; may hold placeholders"`
	Body      json.RawMessage        `json:"body" doc:"any value, sent as JSON; its strings may hold ${service}, ${environment}, ${version}, ${previous_version}, ${release}, ${key} and ${labels.x}"`
	Expect    []int                  `json:"expect" default:"[200,201,202,204]" doc:"the statuses that mean accepted"`
	Retry     gatekeeper.RetrySafety `json:"retry" doc:"what the receiver promises of a repeated request: by_key (it drops a repeated Idempotency-Key), by_target (repeating does no harm, and observe tells) or none; by default by_target with observe, none without"`
	Preflight string                 `json:"preflight" doc:"path that is asked with GET when the release opens and must answer 2xx"`
	Observe   *observe               `json:"observe" doc:"how to see whether the target is reached; without it, an accepted request counts as reached"`
}

type observe struct {
	Path    string          `json:"path" required:"true" doc:"path that is asked with GET"`
	Status  []int           `json:"status" default:"[200]" doc:"the statuses of an answer that can mean the target is reached"`
	Pointer string          `json:"pointer" doc:"JSON pointer (RFC 6901) to a value in the answer"`
	Equals  json.RawMessage `json:"equals" doc:"what that value is once the target is reached; may hold placeholders except ${key}"`
}

// Validate checks what can be checked without knowing the release.
func (s *settings) Validate() error {
	at := func(says string, path ...string) error { return actions.Problem{Path: path, Says: says} }
	if !slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, s.Method) {
		return at("want POST, PUT, PATCH or DELETE", "method")
	}
	if len(s.Body) > maxBody {
		return at("is above 64 KiB", "body")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		if !httpguts.ValidHeaderFieldName(name) || reserved[http.CanonicalHeaderKey(name)] {
			return at("can't be set by a health file", "headers", name)
		}
	}
	if err := validStatuses(s.Expect, "expect"); err != nil {
		return err
	}
	switch s.Retry {
	case "", gatekeeper.ByKey, gatekeeper.NoRetry:
	case gatekeeper.ByTarget:
		if s.Observe == nil {
			return at("by_target needs observe", "retry")
		}
	default:
		return at("want by_key, by_target or none", "retry")
	}
	if o := s.Observe; o != nil {
		if (o.Pointer == "") != (len(o.Equals) == 0) {
			return at("pointer and equals belong together", "observe")
		}
		if o.Pointer != "" && o.Pointer[0] != '/' {
			return at("want a JSON pointer such as /live/version", "observe", "pointer")
		}
		return validStatuses(o.Status, "observe", "status")
	}
	return nil
}

func validStatuses(all []int, path ...string) error {
	if len(all) == 0 {
		return actions.Problem{Path: path, Says: "want at least one status"}
	}
	for i, code := range all {
		if code < 200 || code > 599 {
			return actions.Problem{Path: append(path, fmt.Sprint(i)), Says: "want a status from 200 to 599"}
		}
	}
	return nil
}

// reserved are the headers that carry credentials, frame the request or are this action's own.
var reserved = map[string]bool{
	"Authorization": true, "Connection": true, "Content-Length": true, "Content-Type": true, "Cookie": true,
	"Expect": true, "Forwarded": true, "Host": true, "Idempotency-Key": true, "Proxy-Authorization": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "X-Forwarded-For": true,
	"X-Forwarded-Host": true,
}

// Specs gives the actions of this package.
func Specs() []actions.Spec {
	return []actions.Spec{
		actions.Define("http/request",
			"Sends a request to an endpoint below the connection's URL, with the release in a JSON body "+
				"and the attempt's key in the header Idempotency-Key. "+
				"Redirects are not followed, and answers are never shown, only their status.",
			gatekeeper.NoRetry, open).WithConnection(Kind, connection{}),
	}
}

func open(s settings, b actions.Binding) (actions.Action, error) {
	var c connection
	if err := b.Connection.Decode(&c); err != nil {
		return nil, err
	}
	config := c.config()
	base, err := config.Base()
	if err != nil {
		return nil, err
	}
	client, err := config.New(b.Connection.Name)
	if err != nil {
		return nil, err
	}
	r := &request{settings: s, base: base, client: client, values: valuesOf(b.Subject)}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}
