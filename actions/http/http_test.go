package httpaction

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	pathpkg "path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/actiontest"
)

const secret = "s3cr3t-t0k3n"

// deployer is a deployment system with an HTTP interface. It drops repeated keys.
type deployer struct {
	mu       sync.Mutex
	live     string
	answers  []int // of the next POSTs, before the usual
	keys     map[string]bool
	effects  int
	hang     chan struct{}
	requests []string
	bodies   []string
	headers  http.Header
	server   *httptest.Server
}

func startDeployer(t *testing.T) *deployer {
	t.Helper()
	d := &deployer{live: "v2", keys: map[string]bool{}}
	d.server = httptest.NewServer(d)
	t.Cleanup(func() { d.server.CloseClientConnections(); d.server.Close() })
	return d
}

// ServeHTTP takes POST /api/rollback and answers GET /api/live.
func (d *deployer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	if hang := d.hang; hang != nil {
		d.mu.Unlock()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
		d.mu.Lock()
		return
	}
	d.requests = append(d.requests, r.Method+" "+r.URL.EscapedPath())
	if r.Method != http.MethodPost {
		_, _ = fmt.Fprintf(w, `{"live":{"version":%q},"note":"internal"}`, d.live)
		return
	}
	d.headers, d.bodies = r.Header, append(d.bodies, string(body))
	if r.Header.Get("Authorization") != "Bearer "+secret {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	status := http.StatusAccepted
	if len(d.answers) > 0 {
		status, d.answers = d.answers[0], d.answers[1:]
	}
	if key := r.Header.Get("Idempotency-Key"); status < 300 && !d.keys[key] {
		d.keys[key] = true
		d.effects++
		d.live = "v1"
	}
	if status/100 == 3 {
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "a body with internal things")
}

func (d *deployer) locked(f func()) func() {
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		f()
	}
}

func (d *deployer) answer(statuses ...int) { d.locked(func() { d.answers = statuses })() }

var subject = actions.Subject{
	Release: "r1", Service: "checkout", Environment: "prod", Version: "v2", PreviousVersion: "v1",
	Labels: map[string]string{"team": `pay"ments`, "odd": "${service}", "path": "../admin", "empty": ""},
}

func (d *deployer) open(t *testing.T, with string) (actions.Action, gatekeeper.RetrySafety, error) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(secret), 0o600))
	connection, err := json.Marshal(map[string]any{"url": d.server.URL + "/api", "bearer_token_file": token})
	require.NoError(t, err)
	registry, err := actions.NewRegistry(Specs()...)
	require.NoError(t, err)
	return registry.Open("http/request", json.RawMessage(with), actions.Binding{
		Subject: subject, Connection: actions.Connection{Name: "deployer", Kind: Kind, Settings: connection},
	})
}

func (d *deployer) mustOpen(t *testing.T, with string) actions.Action {
	t.Helper()
	a, _, err := d.open(t, with)
	require.NoError(t, err)
	return a
}

const (
	seeing = `{"path":"/rollback","body":{"to":"${previous_version}"},
		"observe":{"path":"/live","pointer":"/live/version","equals":"${previous_version}"}}`
	byKey = `{"path":"/rollback","retry":"by_key","body":{"to":"${previous_version}"}}`
	once  = `{"path":"/rollback"}`
)

func TestConformance(t *testing.T) {
	for name, with := range map[string]string{"seeing": seeing, "by key": byKey, "once": once} {
		t.Run(name, func(t *testing.T) {
			actiontest.Run(t, gatekeeper.NoRetry, func(t *testing.T) actiontest.System {
				d := startDeployer(t)
				return actiontest.System{
					Open:    func() actions.Action { return d.mustOpen(t, with) },
					Release: d.locked(func() { d.live = "v2" }),
					State:   func() string { d.mu.Lock(); defer d.mu.Unlock(); return d.live },
					Refuse:  func() { d.answer(403, 403) },
					Stop:    d.server.Close,
					Hang:    d.locked(func() { d.hang = make(chan struct{}) }),
					Effects: func() int { d.mu.Lock(); defer d.mu.Unlock(); return d.effects },
					Secrets: []string{secret, "internal"},
				}
			})
		})
	}
}

func apply(t *testing.T, a actions.Action) (gatekeeper.Receipt, error) {
	t.Helper()
	pinned, err := a.Prepare(t.Context())
	require.NoError(t, err)
	return a.Apply(t.Context(), pinned, "r1/0")
}

func TestRequest(t *testing.T) {
	d := startDeployer(t)
	receipt, err := apply(t, d.mustOpen(t, `{"path":"/${service}/rollback","headers":{"X-Team":"${labels.team}"},
		"body":{"to":"${previous_version}","n":12345678901234567890,"who":["${labels.team}","${labels.odd} ${key}"]}}`))
	require.NoError(t, err)
	require.Equal(t, "POST "+d.server.URL+"/api/checkout/rollback answered 202", receipt.Says)
	require.JSONEq(t, `{"to":"v1","n":12345678901234567890,"who":["pay\"ments","${service} r1/0"]}`, d.bodies[0])
	require.Contains(t, d.bodies[0], "12345678901234567890")
	require.Equal(t, "r1/0", d.headers.Get("Idempotency-Key"))
	require.Equal(t, "application/json", d.headers.Get("Content-Type"))
	require.Equal(t, `pay"ments`, d.headers.Get("X-Team"))
	require.Equal(t, []string{"HEAD /api/checkout/rollback", "POST /api/checkout/rollback"}, d.requests)
}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		retry   string
		answers []int
		posts   int
		none    bool // certainly no effect
		ok      bool
	}{
		"accepted":                    {"none", []int{200}, 1, false, true},
		"not expected":                {"none", []int{206}, 1, false, false},
		"rejected":                    {"by_key", []int{422}, 1, true, false},
		"conflict may still run":      {"by_key", []int{409}, 1, false, false},
		"server error":                {"by_key", []int{500}, 1, false, false},
		"gateway, not to be repeated": {"none", []int{502}, 1, false, false},
		"gateway, then accepted":      {"by_key", []int{502, 503, 202}, 3, false, true},
		"gateway, then rejected":      {"by_key", []int{504, 400}, 2, false, false},
		"too many, then accepted":     {"none", []int{429, 202}, 2, false, true},
		"too many, always":            {"none", []int{429, 429, 429, 429}, 4, true, false},
		"redirect is not followed":    {"by_key", []int{307}, 1, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDeployer(t)
			d.answer(c.answers...)
			_, err := apply(t, d.mustOpen(t, fmt.Sprintf(`{"path":"/rollback","retry":%q}`, c.retry)))
			d.mu.Lock()
			defer d.mu.Unlock()
			require.Len(t, d.bodies, c.posts)
			if c.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, fmt.Sprintf("answered %d", c.answers[len(c.answers)-1]))
			if c.none {
				require.ErrorIs(t, err, actions.ErrNoEffect)
			} else {
				require.NotErrorIs(t, err, actions.ErrNoEffect)
			}
		})
	}
}

func TestSafety(t *testing.T) {
	d := startDeployer(t)
	for with, want := range map[string]gatekeeper.RetrySafety{
		once: gatekeeper.NoRetry, byKey: gatekeeper.ByKey, seeing: gatekeeper.ByTarget,
	} {
		a, safety, err := d.open(t, with)
		require.NoError(t, err)
		require.Equal(t, want, safety)
		require.Equal(t, with != seeing, a.(actions.Blind).Unobservable())
	}
}

func TestObserve(t *testing.T) {
	d := startDeployer(t)
	for with, want := range map[string]gatekeeper.Live{
		`{"path":"/live"}`:                                             {Position: gatekeeper.AtTarget, Says: "GET URL/api/live answered 200"},
		`{"path":"/live","status":[404]}`:                              {Position: gatekeeper.Elsewhere, Says: "GET URL/api/live answered 200"},
		`{"path":"/live","pointer":"/live/version","equals":"v2"}`:     {Position: gatekeeper.AtTarget, Says: `GET URL/api/live answered 200, and /live/version is "v2"`},
		`{"path":"/live","pointer":"/live","equals":{"version":"v2"}}`: {Position: gatekeeper.AtTarget, Says: `GET URL/api/live answered 200, and /live is {"version":"v2"}`},
		`{"path":"/live","pointer":"/note","equals":"x"}`:              {Position: gatekeeper.Elsewhere, Says: `GET URL/api/live answered 200, and /note is not "x"`},
		`{"path":"/live","pointer":"/gone/0","equals":1}`:              {Position: gatekeeper.Elsewhere, Says: "GET URL/api/live answered 200, without a value at /gone/0"},
	} {
		live, err := d.mustOpen(t, `{"path":"/rollback","observe":`+with+`}`).Observe(t.Context(), gatekeeper.Target{})
		require.NoError(t, err)
		require.Equal(t, want.Position, live.Position, with)
		require.Equal(t, strings.ReplaceAll(want.Says, "URL", d.server.URL), live.Says)
		require.NotContains(t, live.Print+live.Says, "internal", "an answer stays where it is")
	}
}

func TestAnotherRequestThanPinnedIsNotSent(t *testing.T) {
	d := startDeployer(t)
	pinned, err := d.mustOpen(t, byKey).Prepare(t.Context())
	require.NoError(t, err)
	_, err = d.mustOpen(t, `{"path":"/rollback","retry":"by_key","body":{"to":"v7"}}`).Apply(t.Context(), pinned, "k")
	require.ErrorIs(t, err, actions.ErrNoEffect)
	require.ErrorContains(t, err, "not the one that was pinned")
	require.Empty(t, d.bodies)
}

func TestPreflight(t *testing.T) {
	d := startDeployer(t)
	_, err := d.mustOpen(t, `{"path":"/rollback","preflight":"/ready"}`).Prepare(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"GET /api/ready"}, d.requests)
}

func TestBadSettings(t *testing.T) {
	d := startDeployer(t)
	for with, says := range map[string]string{
		`{"method":"GET"}`:                                "method: want POST, PUT, PATCH or DELETE",
		`{"path":"http://evil/"}`:                         "want one that begins with /",
		`{"path":"//evil/x"}`:                             `has a part ""`,
		`{"path":"/../admin"}`:                            `has a part ".."`,
		`{"path":"/a/./b"}`:                               `has a part "."`,
		`{"path":"/%2e%2e/admin"}`:                        "holds none of",
		`{"path":"/a?x=1"}`:                               "holds none of",
		`{"path":"/a\\b"}`:                                "holds none of",
		`{"path":"/${labels.path}"}`:                      "can't stand in a path",
		`{"path":"/${labels.empty}"}`:                     "is empty for this release",
		`{"body":["${versoin}"]}`:                         `there is no placeholder ${versoin}; did you mean "version"?`,
		`{"body":{"a":{"b":"${labels.nope}"}}}`:           "body: a: b: there is no placeholder ${labels.nope}",
		`{"headers":{"authorization":"x"}}`:               "headers.authorization: can't be set",
		`{"headers":{"idempotency-key":"x"}}`:             "can't be set",
		`{"headers":{"X A":"x"}}`:                         "can't be set",
		`{"headers":{"X-A":"x\ny"}}`:                      "headers.X-A: its value can't be sent",
		`{"retry":"by_target"}`:                           "retry: by_target needs observe",
		`{"retry":"twice"}`:                               "retry: want by_key, by_target or none",
		`{"expect":[]}`:                                   "expect: want at least one status",
		`{"expect":[200,99]}`:                             "expect.1: want a status from 200 to 599",
		`{"observe":{}}`:                                  "observe.path: is missing",
		`{"observe":{"path":"/x","pointer":"/a"}}`:        "pointer and equals belong together",
		`{"observe":{"path":"/../x"}}`:                    `observe: path "/../x"`,
		`{"preflight":"x"}`:                               "preflight: path",
		`{"body":"` + strings.Repeat("x", maxBody) + `"}`: "body: is above 64 KiB",
	} {
		_, _, err := d.open(t, with)
		require.ErrorContains(t, err, says, with)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err), with)
	}
	require.Empty(t, d.requests, "opening reaches for no network")
}

func FuzzBelow(f *testing.F) {
	for _, path := range []string{"/a", "//h", "/..", "/a/../..", "/\x00", "/${service}"} {
		f.Add(path, "checkout")
	}
	d := values{}
	base := mustParse("https://host.example/api")
	f.Fuzz(func(t *testing.T, path, service string) {
		d["service"] = service
		u, err := d.below(base, path)
		if err != nil {
			return
		}
		again := mustParse(u.String())
		if again == nil || again.Host != "host.example" || !strings.HasPrefix(pathpkg.Clean(again.Path)+"/", "/api/") {
			t.Errorf("%q with %q leaves the base: %s", path, service, u)
		}
	})
}

func mustParse(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		return nil
	}
	return u
}
