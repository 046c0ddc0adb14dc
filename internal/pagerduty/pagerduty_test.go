package pagerduty

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/notify"
	"github.com/gatekeeper-engine/gatekeeper/internal/notifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "s3cret0123456789s3cret0123456789"

// vendor is PagerDuty's Events API v2 as https://developer.pagerduty.com/docs/send-alert-event and
// its OpenAPI description (github.com/PagerDuty/api-schema, reference/events-v2) give it: 202 for
// what was taken, 400 with the reasons, 429 when there are too many events.
type vendor struct {
	mu    sync.Mutex
	got   []event
	at    []time.Time
	open  map[string]bool             // alerts by dedup_key
	fail  func(call int) (status int) // instead of an answer, unless 0
	calls int
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	v.at = append(v.at, time.Now())
	if v.fail != nil {
		if status := v.fail(v.calls); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	var e event
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	var wrong []string
	if err := d.Decode(&e); err != nil {
		wrong = append(wrong, err.Error())
	}
	if len(e.RoutingKey) != 32 {
		wrong = append(wrong, "Length of 'routing_key' is incorrect (should be 32 characters): "+e.RoutingKey)
	}
	if len(e.DedupKey) > 255 || !slices.Contains([]string{"trigger", "acknowledge", "resolve"}, e.Action) {
		wrong = append(wrong, "'dedup_key' or 'event_action' is invalid")
	}
	if p := e.Payload; e.Action == "trigger" && (p == nil || p.Summary == "" || len(p.Summary) > 1024 || p.Source == "" ||
		!slices.Contains([]string{"critical", "error", "warning", "info"}, p.Severity)) {
		wrong = append(wrong, "'payload' is invalid")
	}
	if r.URL.Path != "/v2/enqueue" || len(wrong) > 0 {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "invalid event", "message": "Event object is invalid", "errors": wrong})
		return
	}
	v.got = append(v.got, e)
	v.open[e.DedupKey] = e.Action == "trigger"
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]string{"status": "success", "message": "Event processed", "dedup_key": e.DedupKey})
}

var (
	breach  = gatekeeper.Breach{Rule: "HighErrorRate", Says: "error ratio 5%, limit > 0.01"}
	only    = gatekeeper.Breached{Breaches: []gatekeeper.Breach{breach}, Why: "the route only notifies"}
	held    = gatekeeper.Held{Reason: gatekeeper.HoldRoute, Breaches: []gatekeeper.Breach{breach}, Says: "error ratio 5%, limit > 0.01"}
	decided = gatekeeper.Decided{Cause: gatekeeper.CauseApproved, Says: "approved by ann"}
	healthy = gatekeeper.Judged{Track: gatekeeper.Track{Rule: "HighErrorRate", Verdict: gatekeeper.Healthy}}
)

func end(o gatekeeper.Outcome) gatekeeper.Closed {
	return gatekeeper.Closed{Outcome: o, Why: "because"}
}

func TestWhoIsPagedAndWhenItResolves(t *testing.T) {
	reached := []gatekeeper.Body{decided, gatekeeper.Reached{}}
	unknown := append(reached[:2:2], gatekeeper.Recovered{Unknown: true, Says: "no data"})
	for name, c := range map[string]struct {
		facts []gatekeeper.Body
		want  string // the events
	}{
		"well":                        {[]gatekeeper.Body{end(gatekeeper.OutcomePassed)}, ""},
		"held":                        {[]gatekeeper.Body{held}, "held"},
		"held, resumed":               {[]gatekeeper.Body{held, gatekeeper.Resumed{}, end(gatekeeper.OutcomePassed)}, "held breached resolve"},
		"held, well, resumed":         {[]gatekeeper.Body{held, healthy, gatekeeper.Resumed{}}, "held resolve"},
		"held, vetoed":                {[]gatekeeper.Body{held, gatekeeper.Vetoed{Rules: []string{"HighErrorRate"}}}, "held resolve"},
		"held, approved, rolled back": {append([]gatekeeper.Body{held}, append(reached, gatekeeper.Recovered{}, end(gatekeeper.OutcomeRolledBack))...), "held resolve"},
		"held, approved, failed":      {[]gatekeeper.Body{held, decided, end(gatekeeper.OutcomeRollbackFailed)}, "held resolve rollback_failed"},
		"failed":                      {[]gatekeeper.Body{decided, end(gatekeeper.OutcomeRollbackFailed)}, "rollback_failed"},
		"unknown":                     {append(unknown, gatekeeper.Noted{Text: "x"}, end(gatekeeper.OutcomeRolledBack)), "recovery_unknown"},
		"unknown, then failed":        {append(unknown, end(gatekeeper.OutcomeRollbackFailed)), "recovery_unknown rollback_failed"},
		"told, then well":             {[]gatekeeper.Body{only, healthy, end(gatekeeper.OutcomePassed)}, "breached resolve resolve"},
		"told, ended so":              {[]gatekeeper.Body{only, end(gatekeeper.OutcomeBreached)}, "breached breached"},
		"superseded":                  {[]gatekeeper.Body{held, end(gatekeeper.OutcomeSuperseded)}, "held resolve"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &vendor{open: map[string]bool{}}
				p := newPagerDuty(Config{Name: "a", RoutingKeyFile: notifytest.Secret(t, key)}, notifytest.Channel(t, io.Discard), &http.Client{Transport: notifytest.Direct{Handler: v}})
				stop := notifytest.Run(t, p)
				j := notifytest.Begin(t, p, "r1", "v2")
				j.Tell(c.facts...)
				p.Tell(j.Release, gatekeeper.Fact{At: time.Now(), Body: gatekeeper.Noted{Text: "nothing new"}})
				synctest.Wait()
				var events []string
				for _, e := range v.got {
					require.Equal(t, "r1", e.DedupKey)
					if e.Action == "resolve" {
						require.Nil(t, e.Payload)
						events = append(events, "resolve")
						continue
					}
					events = append(events, e.Payload.Class)
				}
				require.Equal(t, c.want, strings.Join(events, " "))
				stop()
			})
		})
	}
}

func TestEventOnTheWire(t *testing.T) {
	v := &vendor{open: map[string]bool{}}
	srv := httptest.NewServer(v)
	defer srv.Close()
	var log bytes.Buffer
	p, err := New(Config{Name: "on-call", RoutingKeyFile: notifytest.Secret(t, key), URL: srv.URL + "/"}, notifytest.Channel(t, &log))
	require.NoError(t, err)
	stop := notifytest.Run(t, p)
	j := notifytest.Begin(t, p, "r1", "v2")
	long := held
	long.Says = strings.Repeat("ü", 5000)
	j.Tell(long)
	count := func() int {
		v.mu.Lock()
		defer v.mu.Unlock()
		return len(v.got)
	}
	require.Eventually(t, func() bool { return count() == 1 }, 10*time.Second, 5*time.Millisecond, "%s", &log)
	stop()
	e := v.got[0]
	require.Equal(t, key, e.RoutingKey)
	require.Equal(t, []link{{"https://gatekeeper.example/releases/r1", "Release r1"}}, e.Links)
	require.True(t, strings.HasPrefix(e.Payload.Summary, "shop v2 in production is held: ü"))
	require.Contains(t, e.Payload.Details["to_do"], "gatekeeper release approve r1")
	require.Equal(t, "shop", e.Payload.Component)
	require.Equal(t, j.Release.HeldAt.UTC().Format(time.RFC3339), e.Payload.Timestamp)
	require.NotContains(t, log.String(), "s3cret")
}

func TestAfterARestartAnAlertStillResolves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{open: map[string]bool{}}
		make := func() *PagerDuty {
			return newPagerDuty(Config{Name: "a", RoutingKeyFile: notifytest.Secret(t, key)}, notifytest.Channel(t, io.Discard), &http.Client{Transport: notifytest.Direct{Handler: v}})
		}
		before := make()
		stop := notifytest.Run(t, before)
		j := notifytest.Begin(t, before, "r1", "v2")
		j.Tell(only)
		k := notifytest.Begin(t, before, "r2", "v2")
		k.Tell(held)
		synctest.Wait()
		require.True(t, v.open["r1"] && v.open["r2"])
		stop()

		after := make()
		stop = notifytest.Run(t, after)
		j.Channel, k.Channel = after, after
		j.Tell(end(gatekeeper.OutcomeAborted))
		k.Again() // as the engine does for what is held
		k.Tell(decided)
		synctest.Wait()
		require.False(t, v.open["r1"])
		require.False(t, v.open["r2"])
		stop()
	})
}

func TestBusyAndSickAnswersAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{open: map[string]bool{}, fail: func(call int) int {
			return []int{0, 429, 500, 503, 0}[min(call, 4)]
		}}
		p := newPagerDuty(Config{Name: "a", RoutingKeyFile: notifytest.Secret(t, key)}, notifytest.Channel(t, io.Discard), &http.Client{Transport: notifytest.Direct{Handler: v}})
		stop := notifytest.Run(t, p)
		notifytest.Begin(t, p, "r1", "v2").Tell(held)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 4, v.calls)
		require.True(t, v.open["r1"])
		require.Equal(t, 7*time.Second, v.at[3].Sub(v.at[0]))
		stop()
	})
}

func TestRefusalNamesTheReasonButNotTheKey(t *testing.T) {
	v := &vendor{open: map[string]bool{}}
	var log bytes.Buffer
	p := newPagerDuty(Config{Name: "a", RoutingKeyFile: notifytest.Secret(t, "s3cret-too-short")}, notifytest.Channel(t, &log), &http.Client{Transport: notifytest.Direct{Handler: v}})
	notifytest.Begin(t, p, "r1", "v2").Tell(held)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, p.Run(ctx))
	require.Equal(t, 1, v.calls)
	require.Contains(t, log.String(), "Length of 'routing_key' is incorrect")
	require.NotContains(t, log.String(), "s3cret")
}

func TestFilter(t *testing.T) {
	c := Config{Name: "a", RoutingKeyFile: notifytest.Secret(t, key), Filter: notify.Filter{Services: gatekeeper.Globs{"pay"}}}
	p := newPagerDuty(c, notifytest.Channel(t, io.Discard), &http.Client{})
	notifytest.Begin(t, p, "r1", "v2").Tell(held)
	require.Empty(t, p.open)
	c.Filter = notify.Filter{Events: []notify.Event{notify.RollbackFailed}}
	p = newPagerDuty(c, notifytest.Channel(t, io.Discard), &http.Client{})
	notifytest.Begin(t, p, "r1", "v2").Tell(held)
	require.Empty(t, p.open)
}

func TestOpenAlertsAreBounded(t *testing.T) {
	p := newPagerDuty(Config{Name: "a"}, notifytest.Channel(t, io.Discard), &http.Client{})
	for i := range maxOpen + 5 {
		notifytest.Begin(t, p, fmt.Sprint(i), "v2").Tell(held)
	}
	require.Len(t, p.open, maxOpen)
	require.Contains(t, p.open, fmt.Sprint(maxOpen+4))
}

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	for says, c := range map[string]Config{
		"needs a name":            {RoutingKeyFile: "f"},
		"has no routing_key_file": {Name: "a"},
		"url begins with":         {Name: "a", RoutingKeyFile: "f", URL: "ftp://x"},
		`"passed"`:                {Name: "a", RoutingKeyFile: "f", Filter: notify.Filter{Events: []notify.Event{notify.Passed}}},
	} {
		err := c.Validate()
		require.ErrorContains(t, err, says)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	}
	_, err := New(Config{Name: "a", RoutingKeyFile: "/none"}, notifytest.Channel(t, io.Discard))
	require.ErrorContains(t, err, "/none")
}

// PagerDuty shows pictures that it can fetch by HTTPS.
func TestImages(t *testing.T) {
	images := func(address string) []image {
		r := gatekeeper.Release{ID: "r1"}
		return trigger(r, notify.News{}, "https://gatekeeper.example/releases/r1", &notify.Picture{URL: address, Says: "a rule"}, time.Now()).Images
	}
	require.Equal(t, []image{{"https://gatekeeper.example/p.png", "https://gatekeeper.example/releases/r1", "a rule"}}, images("https://gatekeeper.example/p.png"))
	for _, address := range []string{"", "http://gatekeeper.example/p.png", "https://127.0.0.1:9095/p.png"} {
		require.Empty(t, images(address))
	}
	require.Empty(t, trigger(gatekeeper.Release{}, notify.News{}, "", nil, time.Now()).Images)
}
