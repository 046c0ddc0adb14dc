package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/signature"
)

const sharedSecret = "s3cret-s3cret-s3cret"

// doer remembers what it was asked for and answers with err.
type doer struct {
	calls []Call
	err   error
	while func()
}

func (d *doer) do(_ context.Context, c Call) (gatekeeper.Release, error) {
	d.calls = append(d.calls, c)
	if d.while != nil {
		d.while()
	}
	return gatekeeper.Release{ID: c.ID, State: gatekeeper.Waiting}, d.err
}

func newGeneric(t testing.TB, d *doer, log io.Writer) (http.Handler, *Webhooks) {
	t.Helper()
	w, err := New(Config{Deliver: (&receiver{}).deliver, Log: slog.New(slog.NewTextHandler(log, nil)), Registerer: prometheus.NewRegistry()})
	require.NoError(t, err)
	return w.Generic("ci", func() (string, error) { return sharedSecret, nil }, d.do), w
}

func signedRequest(body string, at time.Time) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/webhooks/generic/ci", strings.NewReader(body))
	signature.Sign(r.Header, sharedSecret, at, []byte(body))
	return r
}

func send(h http.Handler, r *http.Request) (int, map[string]any) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	var answer map[string]any
	_ = json.Unmarshal(rec.Body.Bytes(), &answer)
	return rec.Code, answer
}

func TestSignedRequestsCallWhatTheyAskFor(t *testing.T) {
	opening := Opening{
		Service: "shop", Environment: "production", Version: "2", PreviousVersion: "1", Labels: map[string]string{"a": "b"},
		HealthFile: "shop.yml", Plan: "p", Window: gatekeeper.Duration(20 * time.Minute), WatchOnly: true, DryRun: true, AfterDeploy: true, Deployed: true,
		Heartbeat: gatekeeper.Duration(2 * time.Minute),
	}
	for body, want := range map[string]Call{
		`{"action":"open","id":"r1","actor":"ann","service":"shop","environment":"production","version":"2","previous_version":"1",
		  "labels":{"a":"b"},"health_file":"shop.yml","plan":"p","window":"20m","watch_only":true,"dry_run":true,"after_deploy":true,"deployed":true,"heartbeat":"2m"}`: {
			Action: ActionOpen, ID: "r1", Actor: "ci (ann)", Open: opening,
		},
		`{"action":"deployed","id":"r1"}`:                              {Action: ActionDeployed, ID: "r1", Actor: "ci"},
		`{"action":"heartbeat","id":"r1"}`:                             {Action: ActionHeartbeat, ID: "r1", Actor: "ci"},
		`{"action":"extend","id":"r1","by":"15m","why":"slow"}`:        {Action: ActionExtend, ID: "r1", Actor: "ci", By: 15 * time.Minute, Why: "slow"},
		`{"action":"mark-irreversible","id":"r1","why":"a migration"}`: {Action: ActionMark, ID: "r1", Actor: "ci", Why: "a migration"},
		`{"action":"close","id":"r1","actor":"ci"}`:                    {Action: ActionClose, ID: "r1", Actor: "ci"},
	} {
		d := &doer{}
		h, _ := newGeneric(t, d, io.Discard)
		status, answer := send(h, signedRequest(body, time.Now()))
		require.Equal(t, http.StatusOK, status, "%v", answer)
		require.Equal(t, map[string]any{"release": "r1", "state": "waiting"}, answer)
		require.Equal(t, []Call{want}, d.calls)
	}
}

func TestUnsignedRequestsDoNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const body = `{"action":"deployed","id":"r1"}`
		for name, change := range map[string]func(r *http.Request){
			"without":        func(r *http.Request) { r.Header = http.Header{} },
			"another body":   func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"action":"close","id":"r1"}`)) },
			"another time":   func(r *http.Request) { r.Header.Set(signature.HeaderTimestamp, fmt.Sprint(time.Now().Unix()+1)) },
			"another secret": func(r *http.Request) { signature.Sign(r.Header, sharedSecret+"x", time.Now(), []byte(body)) },
			"too old": func(r *http.Request) {
				signature.Sign(r.Header, sharedSecret, time.Now().Add(-signature.Window-time.Second), []byte(body))
			},
			"too far ahead": func(r *http.Request) {
				signature.Sign(r.Header, sharedSecret, time.Now().Add(signature.Window+2*time.Second), []byte(body))
			},
		} {
			d, log := &doer{}, &strings.Builder{}
			h, w := newGeneric(t, d, log)
			r := signedRequest(body, time.Now())
			change(r)
			status, answer := send(h, r)
			require.Equal(t, http.StatusUnauthorized, status, name)
			require.NotEmpty(t, answer["hint"])
			require.Empty(t, d.calls)
			require.EqualValues(t, 1, testutil.ToFloat64(w.counters.refusals.WithLabelValues("generic", "signature")))
			require.NotContains(t, log.String()+fmt.Sprint(answer), "s3cret")
		}
	})
}

func TestSignedRequestsAreReadStrictly(t *testing.T) {
	for body, says := range map[string]string{
		``:                                  "not a JSON object",
		`[]`:                                "not a JSON object",
		`null`:                              `no action ""`,
		`{"id":"r1"}`:                       `no action ""`,
		`{"action":"approve","id":"r1"}`:    `no action "approve"`,
		`{"action":"rollback","id":"r1"}`:   `no action "rollback"`,
		`{"action":"deployed"}`:             "needs the id",
		`{"action":"deployed","id":7}`:      "cannot unmarshal",
		`{"action":"deployed","id":"a"} x`:  "invalid character",
		`{"action":"deployed","id":"a"} {}`: "not a JSON object",
		`{"action":"deployed","id":"a","version":"2"}`:                                          `unknown field "version"`,
		`{"action":"close","id":"a","by":"5m"}`:                                                 `unknown field "by"`,
		`{"action":"extend","id":"a"}`:                                                          "extend needs by",
		`{"action":"extend","id":"a","by":"-5m"}`:                                               "extend needs by",
		`{"action":"extend","id":"a","by":"soon"}`:                                              "soon",
		`{"action":"open","id":"a","version":"2"}`:                                              "needs a service",
		`{"action":"open","id":"a","service":"s"}`:                                              "needs a service",
		`{"action":"open","id":"a","service":"s","version":"2","window":"-1m"}`:                 "negative",
		`{"action":"open","id":"a","service":"s\n","version":"2"}`:                              "control character",
		`{"action":"open","id":"a","service":"s","version":"2","labels":{"":"x"}}`:              "label",
		`{"action":"open","id":"a","service":"s","version":"2","bundle":{}}`:                    `unknown field "bundle"`,
		`{"action":"close","id":"` + strings.Repeat("x", maxID+1) + `"}`:                        "id is longer",
		`{"action":"close","id":"a","why":"` + strings.Repeat("x", maxReason+1) + `"}`:          "why is longer",
		`{"action":"close","id":"a","actor":"` + strings.Repeat("x", maxID+1) + `"}`:            "actor is longer",
		`{"action":"open","id":"a","service":"` + strings.Repeat("x", 201) + `","version":"2"}`: "service is longer",
	} {
		d := &doer{}
		h, _ := newGeneric(t, d, io.Discard)
		status, answer := send(h, signedRequest(body, time.Now()))
		require.Equal(t, http.StatusBadRequest, status, body)
		require.Contains(t, answer["detail"], says)
		require.Contains(t, answer["detail"], "nothing was done")
		require.Empty(t, d.calls)
	}
	h, _ := newGeneric(t, &doer{}, io.Discard)
	status, _ := send(h, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusMethodNotAllowed, status)
	status, _ = send(h, signedRequest(strings.Repeat(" ", maxCall+1), time.Now()))
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
}

func TestWhatCannotBeDoneSaysWhetherToComeAgain(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		shows  string
	}{
		"invalid":     {gatekeeper.Errorf(gatekeeper.CodeInvalid, "", "no such file"), 400, "no such file"},
		"unsupported": {gatekeeper.Errorf(gatekeeper.CodeUnsupported, "", "not yet"), 400, "not yet"},
		"not found":   {gatekeeper.Errorf(gatekeeper.CodeNotFound, "", "no release"), 404, "no release"},
		"conflict":    {gatekeeper.Errorf(gatekeeper.CodeConflict, "", "is closed"), 409, "is closed"},
		"refused":     {fmt.Errorf("x: %w", gatekeeper.Errorf(gatekeeper.CodeRefused, "wait", "a freeze")), 403, "a freeze"},
		"unavailable": {gatekeeper.Errorf(gatekeeper.CodeUnavailable, "", "full"), 503, "full"},
		"internal":    {gatekeeper.Errorf(gatekeeper.CodeInternal, "", "s3cret"), 503, "send it again"},
		"unknown":     {errors.New("s3cret"), 503, "send it again"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &doer{err: c.err}
			h, _ := newGeneric(t, d, io.Discard)
			r := func() *http.Request {
				return signedRequest(`{"action":"deployed","id":"r1"}`, time.Unix(time.Now().Unix(), 0))
			}
			status, answer := send(h, r())
			require.Equal(t, c.status, status)
			require.Contains(t, answer["detail"], c.shows)
			require.NotContains(t, fmt.Sprint(answer), "s3cret")
			d.err = nil
			status, _ = send(h, r())
			require.Equal(t, http.StatusOK, status, "what was not done may come again")
			require.Len(t, d.calls, 2)
		})
	}
}

func TestWhatWasDoneIsNotDoneAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const body = `{"action":"extend","id":"r1","by":"15m"}`
		d := &doer{}
		h, _ := newGeneric(t, d, io.Discard)
		ahead := time.Now().Add(signature.Window)
		r := signedRequest(body, ahead)
		d.while = func() {
			status, answer := send(h, signedRequest(body, ahead))
			require.Equal(t, http.StatusServiceUnavailable, status)
			require.Contains(t, answer["detail"], "being done")
		}
		status, _ := send(h, r)
		require.Equal(t, http.StatusOK, status)
		d.while = nil
		for range 3 {
			replayed := signedRequest(body, ahead)
			replayed.Header.Set(signature.HeaderSignature, "v1="+strings.ToUpper(replayed.Header.Get(signature.HeaderSignature)[3:]))
			status, answer := send(h, replayed)
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, map[string]any{"release": "r1", "repeated": true}, answer)
			time.Sleep(signature.Window - time.Second)
		}
		require.Len(t, d.calls, 1)
		status, _ = send(h, signedRequest(body, ahead))
		require.Equal(t, http.StatusUnauthorized, status, "forgotten when it is too old")
		status, _ = send(h, signedRequest(body, time.Now()))
		require.Equal(t, http.StatusOK, status)
		require.Len(t, d.calls, 2, "signed anew it is asked for anew")
	})
}

func TestReplaysAreBounded(t *testing.T) {
	now := time.Now()
	r := replays{seen: map[string]seen{}}
	for i := range maxReplays {
		require.Equal(t, replayNew, r.begin(fmt.Sprint(i), now))
		r.end(fmt.Sprint(i), true, now)
	}
	require.Equal(t, replayBusy, r.begin("one more", now))
	require.Equal(t, replayDone, r.begin("7", now))
	require.Equal(t, replayNew, r.begin("one more", now.Add(time.Hour)))
	require.Len(t, r.seen, 1)
}

func TestUnreadableSecretIsToldAsPassing(t *testing.T) {
	d := &doer{}
	_, w := newGeneric(t, d, io.Discard)
	h := w.Generic("ci", func() (string, error) { return "", errors.New("open /etc/s3cret: no") }, d.do)
	status, answer := send(h, signedRequest(`{"action":"deployed","id":"r1"}`, time.Now()))
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotContains(t, fmt.Sprint(answer), "s3cret")
	require.Empty(t, d.calls)
}

// FuzzGeneric checks that whatever comes is refused or gives a call that can be made.
func FuzzGeneric(f *testing.F) {
	f.Add([]byte(`{"action":"open","id":"r1","service":"s","version":"2","labels":{"a":"b"},"window":"20m"}`))
	f.Add([]byte(`{"action":"extend","id":"r1","by":"1h"}`))
	f.Add([]byte(`{"action":"close","ID":"\ud800","why":"\u0000","actor":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := decodeCall("ci", body)
		if err != nil {
			require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
			return
		}
		require.NotEmpty(t, c.ID)
		require.True(t, strings.HasPrefix(c.Actor, "ci"))
		require.Contains(t, []Action{ActionOpen, ActionDeployed, ActionHeartbeat, ActionExtend, ActionMark, ActionClose}, c.Action)
		require.Equal(t, c.Action == ActionExtend, c.By > 0)
		require.Equal(t, c.Action == ActionOpen, c.Open.Version != "" && c.Open.Service != "")
		require.LessOrEqual(t, len(c.Open.Labels), maxLabels)
	})
}
