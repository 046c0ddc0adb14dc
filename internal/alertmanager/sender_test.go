package alertmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/api/v2/models"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is the transport to an Alertmanager that remembers what it got and when.
type fake struct {
	mu     sync.Mutex
	got    []got
	answer func(n int) (status int, body string, err error) // of the nth request, from 1
	calls  int
}

type got struct {
	at     time.Time
	alerts models.PostableAlerts
}

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	status, text := http.StatusOK, ""
	if f.answer != nil {
		if status, text, err = f.answer(f.calls); err != nil {
			return nil, err
		}
	}
	if status < 500 {
		var alerts models.PostableAlerts
		if err := json.Unmarshal(body, &alerts); err != nil {
			return nil, err
		}
		f.got = append(f.got, got{time.Now(), alerts})
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(text)), Request: r,
	}, nil
}

// take gives what came since the last take.
func (f *fake) take() []got {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.got
	f.got = nil
	return all
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// running gives a sender that runs in the test's bubble with one Alertmanager behind each fake.
func running(t *testing.T, fakes ...*fake) *Sender {
	t.Helper()
	c := Config{ExternalURL: "https://gatekeeper.example/"}
	clients := make([]*http.Client, len(fakes))
	for i, f := range fakes {
		c.Alertmanagers = append(c.Alertmanagers, httpclient.Config{URL: fmt.Sprintf("http://am-%d/prefix", i)})
		clients[i] = &http.Client{Transport: f}
	}
	s, err := senderOf(c.withDefaults(), clients)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return s
}

// senderOf gives a sender to the Alertmanagers of c by these clients, in their order.
func senderOf(c Config, clients []*http.Client) (*Sender, error) {
	s, err := newSender(c, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, err
	}
	use, err := s.prepare(c.Alertmanagers, func(httpclient.Config) (*http.Client, error) {
		next := clients[0]
		clients = clients[1:]
		return next, nil
	})
	use()
	return s, err
}

// journey tells the sender one fact after the other.
type journey struct {
	t *testing.T
	s *Sender
	r gatekeeper.Release
}

func opened(t *testing.T, s *Sender, id string) *journey {
	t.Helper()
	j := &journey{t: t, s: s, r: gatekeeper.Release{ID: id}}
	j.tell(gatekeeper.Opened{Service: "checkout", Environment: "production", Version: "v2", Rungs: []gatekeeper.Rung{{Action: "flag/set"}}})
	j.tell(gatekeeper.Prepared{Rungs: []gatekeeper.Pinned{{Target: &gatekeeper.Target{Kind: gatekeeper.Set}}}})
	j.tell(gatekeeper.Deployed{How: "pipeline"})
	return j
}

func (j *journey) tell(body gatekeeper.Body) {
	j.t.Helper()
	f := gatekeeper.Fact{Seq: j.r.Seq + 1, At: time.Now(), Body: body}
	r, err := j.r.With(f)
	require.NoError(j.t, err)
	j.r = r
	if j.s != nil {
		j.s.Tell(r, f)
	}
}

func (j *journey) hold() {
	j.t.Helper()
	j.tell(gatekeeper.Held{Reason: gatekeeper.HoldBlind, Says: "no data for 2m", Until: time.Now().Add(30 * time.Minute)})
}

func only(t *testing.T, all []got) *models.PostableAlert {
	t.Helper()
	require.Len(t, all, 1)
	require.Len(t, all[0].alerts, 1)
	return all[0].alerts[0]
}

func ends(a *models.PostableAlert) time.Time   { return time.Time(a.EndsAt) }
func starts(a *models.PostableAlert) time.Time { return time.Time(a.StartsAt) }

func TestHoldStandsIsResentAndResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		s := running(t, f)
		j := opened(t, s, "r/1")
		synctest.Wait()
		require.Empty(t, f.take(), "a release that goes well is no alert")

		begin := time.Now()
		j.hold()
		synctest.Wait()
		a := only(t, f.take())
		require.Equal(t, models.LabelSet{
			"alertname": Held, "severity": "critical", "release": "r/1",
			"service": "checkout", "environment": "production", "version": "v2",
		}, a.Labels)
		require.Equal(t, "no data for 2m", a.Annotations["summary"])
		require.Contains(t, a.Annotations["what_to_do"], "gatekeeper release approve r/1")
		require.Equal(t, "https://gatekeeper.example/releases/r%2F1", a.Annotations["link"])
		require.Equal(t, "https://gatekeeper.example/releases/r%2F1", a.GeneratorURL.String())
		require.WithinDuration(t, begin, starts(a), time.Millisecond)
		require.WithinDuration(t, begin.Add(4*time.Minute), ends(a), time.Millisecond)

		for i := range 3 {
			time.Sleep(time.Minute)
			synctest.Wait()
			a = only(t, f.take())
			require.WithinDuration(t, begin, starts(a), time.Millisecond)
			require.WithinDuration(t, begin.Add(time.Duration(i+5)*time.Minute), ends(a), time.Millisecond)
		}

		time.Sleep(10 * time.Second)
		j.tell(gatekeeper.Resumed{Why: "data again"})
		resolved := time.Now()
		synctest.Wait()
		require.WithinDuration(t, resolved, ends(only(t, f.take())), time.Millisecond, "told at once")
		time.Sleep(resolvedFor - time.Second)
		synctest.Wait()
		again := f.take()
		require.Len(t, again, 14)
		for _, one := range again {
			require.WithinDuration(t, resolved, ends(one.alerts[0]), time.Millisecond)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Empty(t, f.take(), "forgotten after 15m")
		require.Empty(t, s.book.alerts)
	})
}

func TestRollbackIsToldFromStartToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		j := opened(t, running(t, f), "r1")
		j.tell(gatekeeper.Decided{Cause: gatekeeper.CauseBreach, Says: "error ratio 5%, limit > 0.01"})
		synctest.Wait()
		a := only(t, f.take())
		require.Equal(t, RollbackStarted, a.Labels["alertname"])
		require.Equal(t, "warning", a.Labels["severity"])
		require.Equal(t, "error ratio 5%, limit > 0.01", a.Annotations["summary"])

		j.tell(gatekeeper.Reached{})
		j.tell(gatekeeper.Recovered{Says: "well again"})
		synctest.Wait()
		require.Empty(t, f.take(), "nothing new to tell")
		j.tell(gatekeeper.Closed{Outcome: gatekeeper.OutcomeRolledBack, Why: "well again"})
		closed := time.Now()
		synctest.Wait()
		all := f.take()
		require.Len(t, all, 1)
		firing, over := split(all[0])
		require.Equal(t, []string{RolledBack + "/warning"}, firing)
		require.Equal(t, []string{RollbackStarted + "/warning"}, over)

		time.Sleep(15 * time.Minute)
		synctest.Wait()
		all = f.take()
		firing, over = split(all[len(all)-1])
		require.Empty(t, firing, "stands for 15m")
		require.Contains(t, over, RolledBack+"/warning")
		last := all[len(all)-1].alerts
		require.WithinDuration(t, closed.Add(15*time.Minute), ends(last[len(last)-1]), time.Millisecond)
	})
}

// split gives what fires and what is resolved, by name and severity.
func split(g got) (firing, over []string) {
	for _, a := range g.alerts {
		name := a.Labels["alertname"] + "/" + a.Labels["severity"]
		if ends(a).After(g.at) {
			firing = append(firing, name)
		} else {
			over = append(over, name)
		}
	}
	return firing, over
}

func TestRetriesWithBackoffAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(n int) (int, string, error) {
			switch {
			case n == 1:
				return 0, "", errors.New("connection refused")
			case n < 4:
				return http.StatusServiceUnavailable, "busy", nil
			default:
				return http.StatusOK, "", nil
			}
		}}
		well := &fake{}
		s := running(t, f, well)
		synctest.Wait()
		j := opened(t, s, "r1")
		begin := time.Now()
		j.hold()
		synctest.Wait()
		only(t, well.take()) // the sick one does not delay the other
		time.Sleep(500 * time.Millisecond)
		j.tell(gatekeeper.Noted{Text: "news does not hurry a sick Alertmanager"})
		synctest.Wait()
		require.Equal(t, 1, f.count())
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		all := f.take()
		require.Len(t, all, 1)
		require.Equal(t, 7*time.Second, all[0].at.Sub(begin), "after 1s, 2s and 4s")
		require.EqualValues(t, 3, testutil.ToFloat64(s.counters.errors.WithLabelValues("http://am-0/prefix")))
		require.EqualValues(t, 1, testutil.ToFloat64(s.counters.sent.WithLabelValues("http://am-0/prefix")))
	})
}

func TestBadRequestIsPartialSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(int) (int, string, error) { return http.StatusBadRequest, `"invalid label set"`, nil }}
		s := running(t, f)
		opened(t, s, "r1").hold()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		require.Len(t, f.take(), 1, "not sent again before the resend")
		require.EqualValues(t, 1, testutil.ToFloat64(s.counters.errors.WithLabelValues("http://am-0/prefix")))
	})
}

func TestHangingAlertmanagerBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Alertmanagers: []httpclient.Config{{URL: "http://am"}}}.withDefaults()
		s, err := senderOf(c, []*http.Client{{Transport: hanging{}}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		j := opened(t, s, "r1")
		begin := time.Now()
		for range 100 {
			j.hold()
		}
		require.Equal(t, begin, time.Now(), "Tell waits for nothing")
		synctest.Wait()
		cancel()
		require.NoError(t, <-done)
		require.LessOrEqual(t, time.Since(begin), lastWords, "the end is not held up either")
	})
}

type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestWithoutAlertmanagersNothingIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t)
		opened(t, s, "r1").hold()
		synctest.Wait()
		require.Empty(t, s.book.alerts)
	})
}

func TestEndSendsWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := Config{Alertmanagers: []httpclient.Config{{URL: "http://am"}}}.withDefaults()
		s, err := senderOf(c, []*http.Client{{Transport: f}})
		require.NoError(t, err)
		opened(t, s, "r1").hold()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, s.Run(ctx))
		require.NotEmpty(t, f.take())
	})
}

func TestBatchesAndBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := Config{Alertmanagers: []httpclient.Config{{URL: "http://am"}}}.withDefaults()
		s, err := senderOf(c, []*http.Client{{Transport: f}})
		require.NoError(t, err)
		for i := range maxStanding + 10 {
			opened(t, s, fmt.Sprintf("r%05d", i)).hold()
			time.Sleep(time.Millisecond)
		}
		require.Len(t, s.book.alerts, maxStanding)
		require.EqualValues(t, 10, testutil.ToFloat64(s.dropped))
		require.Nil(t, s.book.alerts[id{"r00000", Held, critical}], "the oldest went")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		all := f.take()
		require.Len(t, all, maxStanding/batchSize)
		for _, one := range all {
			require.Len(t, one.alerts, batchSize)
		}
		require.Equal(t, "r00010", all[0].alerts[0].Labels["release"], "oldest news first")
		cancel()
		require.NoError(t, <-done)
	})
}

// Other Alertmanagers while alerts stand: the new one gets them, the old one is kept as it is, and
// after a time without any nothing is left of what stood before.
func TestOtherAlertmanagers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, added := &fake{}, &fake{}
		s := running(t, old)
		j := opened(t, s, "r1")
		j.hold()
		synctest.Wait()
		require.Len(t, old.take(), 1)
		use := func(f *fake, urls ...string) {
			var all []httpclient.Config
			for _, url := range urls {
				all = append(all, httpclient.Config{URL: url})
			}
			use, err := s.prepare(all, func(httpclient.Config) (*http.Client, error) { return &http.Client{Transport: f}, nil })
			require.NoError(t, err)
			use()
			synctest.Wait()
		}
		use(added, "http://am-0/prefix", "http://am-1")
		require.Equal(t, Held, only(t, added.take()).Labels["alertname"])
		require.Empty(t, old.take())

		j.tell(gatekeeper.Resumed{Why: "data again"})
		use(nil, "http://am-1")
		require.False(t, time.Time(only(t, old.take()).EndsAt).After(time.Now()), "what was new is still sent")
		require.Len(t, added.take(), 1)
		j.hold()
		synctest.Wait()
		require.Empty(t, old.take())
		require.Len(t, added.take(), 1)

		use(nil)
		j.tell(gatekeeper.Resumed{Why: "data again"})
		use(old, "http://am-2")
		require.Empty(t, old.take(), "what stood long ago is not known to stand")
	})
}
