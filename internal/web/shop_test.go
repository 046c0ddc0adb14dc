package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/memory"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop is a service whose versions have the error ratios that a test says, the real engine that
// watches it, and the real face with its pages.
type shop struct {
	t       *testing.T
	journal *memory.Journal
	engine  *engine.Engine
	site    *httptest.Server
	face    http.Handler

	mu     sync.Mutex
	ratios map[string]float64 // by version
	live   string
}

const checkout = `service: checkout
window: 30m
min_traffic: requests{version="${version}"} > 1
groups:
  - name: g
    interval: 1s
    rules:
      - alert: HighErrorRate
        expr: error_ratio{version="${version}"} > 0.01
        for: 3s
        annotations: {summary: "error ratio {{ $value | humanizePercentage }} is above 1%"}
      - alert: SlowCheckout
        expr: latency_seconds{version="${version}"} > 0.5
        for: 3s
rollback:
  - action: switch/set
    with: {name: blue-green}
    recover_within: 3s
`

// newShop runs a shop for those who have one of the tokens; without any, for this machine.
func newShop(t *testing.T, tokens ...api.Token) *shop {
	t.Helper()
	s := &shop{t: t, journal: memory.New(), ratios: map[string]float64{}, live: "1.4.1"}
	registry, err := actions.NewRegistry(actions.Define("switch/set", "switches a version", gatekeeper.ByTarget,
		func(_ switchSettings, _ actions.Binding) (actions.Action, error) { return switching{s}, nil }))
	require.NoError(t, err)
	s.engine, err = engine.New(engine.Config{
		Journal: s.journal, Backends: map[string]rules.Querier{"": s}, Actions: registry,
		Phase: func(string, string, string, time.Duration) time.Duration { return 0 },
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.engine.Run(ctx) }) // its error would show in the calls
	require.Eventually(t, func() bool { return s.engine.Ready() == nil }, 5*time.Second, time.Millisecond)
	pages, err := New(Config{
		Engine: s.engine, Pictures: NewPictures([]byte("key"), "https://gatekeeper.example/ops/", s.journal), Log: discard,
	})
	require.NoError(t, err)
	s.face, err = api.New(api.Config{Engine: s.engine, Tokens: tokens, Pages: pages.Pages, Streams: ctx})
	require.NoError(t, err)
	s.site = httptest.NewServer(s.face)
	t.Cleanup(func() { stop(); s.site.Close(); running.Wait() })
	return s
}

func token(t *testing.T, name, secret string, services gatekeeper.Globs, scopes ...api.Scope) api.Token {
	t.Helper()
	made, err := api.NewToken(name, secret, scopes)
	require.NoError(t, err)
	made.Services = services
	return made
}

type switchSettings struct {
	Name string `json:"name" doc:"which" required:"true"`
}

// switching brings the shop back to the version before.
type switching struct{ *shop }

func (a switching) Prepare(context.Context) (gatekeeper.Target, error) {
	return gatekeeper.Target{Kind: gatekeeper.Set, Version: 1, Data: json.RawMessage(`"1.4.1"`), Says: "servers blue=100 green=0"}, nil
}

func (a switching) Apply(context.Context, gatekeeper.Target, gatekeeper.Key) (gatekeeper.Receipt, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.live = "1.4.1"
	return gatekeeper.Receipt{Says: "servers switched"}, nil
}

func (a switching) Observe(context.Context, gatekeeper.Target) (gatekeeper.Live, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live == "1.4.1" {
		return gatekeeper.Live{Position: gatekeeper.AtTarget, Says: "servers blue=100 green=0"}, nil
	}
	return gatekeeper.Live{Position: gatekeeper.Elsewhere, Says: "servers blue=0 green=100"}, nil
}

var versionIn = regexp.MustCompile(`version="([^"]*)"`)

// value answers a query; the shop fails by its script, and answers slowly by none.
func (s *shop) value(expr string) []gatekeeper.Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	version := versionIn.FindStringSubmatch(expr)[1]
	wobble := float64(time.Now().UnixMilli()%7) / 7
	v, limit := 20.0, 1.0
	switch {
	case strings.Contains(expr, "error_ratio"):
		v, limit = s.ratios[version]+0.002*wobble, 0.01
	case strings.Contains(expr, "latency"):
		v, limit = 0.12+0.04*wobble, 0.5
	}
	if strings.Contains(expr, ">") && v <= limit {
		return nil
	}
	return []gatekeeper.Sample{{Value: gatekeeper.Float(v)}}
}

func (s *shop) Query(_ context.Context, expr string, _ time.Time) (rules.Vector, error) {
	return rules.Vector{Samples: s.value(expr)}, nil
}

func (s *shop) QueryRange(context.Context, string, time.Time, time.Time, time.Duration) (rules.Matrix, error) {
	return rules.Matrix{}, nil
}

func (s *shop) fails(version string, ratio float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ratios[version] = ratio
}

// open opens and deploys a version.
func (s *shop) open(id, file string, with ...func(*engine.OpenRequest)) gatekeeper.Release {
	s.t.Helper()
	req := engine.OpenRequest{
		ID: id, Version: "1.4.2", PreviousVersion: "1.4.1", Environment: "production", Actor: "ci (alice)", Bundle: bundle(file),
	}
	for _, f := range with {
		f(&req)
	}
	s.mu.Lock()
	s.live = req.Version
	s.mu.Unlock()
	_, err := s.engine.Open(s.t.Context(), req)
	require.NoError(s.t, err)
	r, err := s.engine.Deployed(s.t.Context(), id, engine.By{Actor: "ci"})
	require.NoError(s.t, err)
	return r
}

// until waits until a release is as it should be.
func (s *shop) until(id string, is func(gatekeeper.Release) bool) gatekeeper.Release {
	s.t.Helper()
	var r gatekeeper.Release
	require.Eventually(s.t, func() bool {
		var err error
		r, err = s.engine.Release(context.Background(), id)
		return err == nil && is(r)
	}, 30*time.Second, 10*time.Millisecond)
	return r
}

func inState(state gatekeeper.State) func(gatekeeper.Release) bool {
	return func(r gatekeeper.Release) bool { return r.State == state }
}

// browser is a browser without JavaScript.
type browser struct {
	t      *testing.T
	site   string
	client *http.Client
	header http.Header
}

func (s *shop) browser() *browser {
	jar := &cookies{}
	return &browser{s.t, s.site.URL, &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}, http.Header{}}
}

// cookies are those of one site.
type cookies struct{ all map[string]*http.Cookie }

func (c *cookies) SetCookies(_ *url.URL, set []*http.Cookie) {
	if c.all == nil {
		c.all = map[string]*http.Cookie{}
	}
	for _, one := range set {
		if c.all[one.Name] = one; one.MaxAge < 0 {
			delete(c.all, one.Name)
		}
	}
}

func (c *cookies) Cookies(*url.URL) (all []*http.Cookie) {
	for one := range maps.Values(c.all) {
		all = append(all, one)
	}
	return all
}

// seen is a page that came.
type seen struct {
	status int
	path   string // after redirects
	header http.Header
	text   string
}

func (b *browser) do(method, path string, form url.Values) seen {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.site+path, body)
	require.NoError(b.t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	maps.Copy(req.Header, b.header)
	res, err := b.client.Do(req)
	require.NoError(b.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	return seen{res.StatusCode, res.Request.URL.RequestURI(), res.Header, string(text)}
}

func (b *browser) get(path string) seen { b.t.Helper(); return b.do("GET", path, nil) }

var formToken = regexp.MustCompile(`name="form" value="([0-9a-f]+)"`)

// send sends the form of a page, with what a person put into it.
func (b *browser) send(page, action string, fields ...string) seen {
	b.t.Helper()
	form := url.Values{}
	if m := formToken.FindStringSubmatch(b.get(page).text); m != nil {
		form.Set("form", m[1])
	}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.do("POST", action, form)
}

func (p seen) String() string { return fmt.Sprintf("%d %s\n%s", p.status, p.path, p.text) }

var discard = slog.New(slog.DiscardHandler)

func bundle(file string) *rules.Bundle { return &rules.Bundle{Name: "health.yml", File: file} }
