package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func channel(t *testing.T, log *slog.Logger) Channel {
	t.Helper()
	counters, err := NewCounters(prometheus.NewRegistry())
	require.NoError(t, err)
	return Channel{Kind: "test", Name: "n", Counters: counters, Log: log, ExternalURL: "https://gatekeeper.example/"}
}

func TestQueueSendsInOrderAndGoesOnAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		c := channel(t, discard())
		q := NewQueue(c, func(_ context.Context, _ *slog.Logger, m string) error {
			got = append(got, m)
			if m == "bad" {
				return errors.New("no")
			}
			return nil
		})
		q.Push(gatekeeper.Release{ID: "r1"}, "before Run")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- q.Run(ctx) }()
		synctest.Wait()
		for _, m := range []string{"a", "bad", "b"} {
			q.Push(gatekeeper.Release{ID: "r1"}, m)
		}
		synctest.Wait()
		require.Equal(t, []string{"before Run", "a", "bad", "b"}, got)
		require.EqualValues(t, 3, testutil.ToFloat64(c.Counters.sent))
		require.EqualValues(t, 1, testutil.ToFloat64(c.Counters.failed))
		cancel()
		require.NoError(t, <-done)
	})
}

func TestPushNeverWaitsAndDropsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		c := channel(t, discard())
		q := NewQueue(c, func(ctx context.Context, _ *slog.Logger, m int) error {
			if m == 0 {
				<-ctx.Done()
				return ctx.Err()
			}
			got = append(got, m)
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- q.Run(ctx) }()
		q.Push(gatekeeper.Release{ID: "r1"}, 0)
		synctest.Wait()
		begin := time.Now()
		for i := 1; i <= maxQueued+3; i++ {
			q.Push(gatekeeper.Release{ID: "r1"}, i)
		}
		require.Equal(t, begin, time.Now(), "while one hangs")
		require.EqualValues(t, 3, testutil.ToFloat64(c.Counters.dropped))
		time.Sleep(patience)
		synctest.Wait()
		require.Len(t, got, maxQueued)
		require.Equal(t, 4, got[0])
		cancel()
		require.NoError(t, <-done)
	})
}

func TestEndSendsWhatIsLeftButNotForLong(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			sent := 0
			c := channel(t, discard())
			q := NewQueue(c, func(ctx context.Context, _ *slog.Logger, _ int) error {
				if hangs {
					<-ctx.Done()
					return ctx.Err()
				}
				time.Sleep(time.Second)
				sent++
				return nil
			})
			q.Push(gatekeeper.Release{ID: "r1"}, 1)
			q.Push(gatekeeper.Release{ID: "r1"}, 2)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			begin := time.Now()
			require.NoError(t, q.Run(ctx))
			if hangs {
				require.Equal(t, lastWords, time.Since(begin))
				require.EqualValues(t, 2, testutil.ToFloat64(c.Counters.failed))
			} else {
				require.Equal(t, 2, sent)
			}
		})
	}
}

func TestWhatWaitedLongGetsATry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []time.Duration
		q := NewQueue(channel(t, discard()), func(ctx context.Context, _ *slog.Logger, _ int) error {
			until, _ := ctx.Deadline()
			got = append(got, time.Until(until))
			<-ctx.Done()
			return ctx.Err()
		})
		q.Push(gatekeeper.Release{ID: "r1"}, 1)
		q.Push(gatekeeper.Release{ID: "r1"}, 2)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- q.Run(ctx) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, []time.Duration{patience, atLeast}, got)
		cancel()
		require.NoError(t, <-done)
	})
}

// server answers posts in the test's bubble: each request is handled at once and takes no network.
type server struct {
	mu     sync.Mutex
	at     []time.Time
	bodies []string
	handle func(n int, w http.ResponseWriter, r *http.Request) error // of the nth request, from 1
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.at, s.bodies = append(s.at, time.Now()), append(s.bodies, string(body))
	n := len(s.at)
	s.mu.Unlock()
	w := httptest.NewRecorder()
	if err := s.handle(n, w, r); err != nil {
		return nil, err
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// waits gives the times between the requests.
func (s *server) waits() []time.Duration {
	var out []time.Duration
	for i := 1; i < len(s.at); i++ {
		out = append(out, s.at[i].Sub(s.at[i-1]))
	}
	return out
}

const hidden = "https://hooks.example/T0/B0/s3cret"

func TestPostComesAgainWithGrowingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{handle: func(n int, w http.ResponseWriter, _ *http.Request) error {
			switch {
			case n == 1:
				return errors.New("connection refused")
			case n < 9:
				w.WriteHeader(http.StatusBadGateway)
			}
			return nil
		}}
		signed := 0
		p := Post{URL: hidden, Body: []byte("{}"), Sign: func(h http.Header) error {
			signed++
			h.Set("X-Try", fmt.Sprint(signed))
			return nil
		}}
		require.NoError(t, p.Send(t.Context(), &http.Client{Transport: s}, discard()))
		second := time.Second
		require.Equal(t, []time.Duration{second, 2 * second, 4 * second, 8 * second, 16 * second, 32 * second, longWait, longWait}, s.waits())
		require.Equal(t, 9, signed, "every try is signed anew")
		for _, body := range s.bodies {
			require.Equal(t, "{}", body)
		}
	})
}

func TestPostHonoursRetryAfterWithinReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := []string{"30", "0", "-5", "86400", "9223372036854775807", "soon"}
		s := &server{handle: func(n int, w http.ResponseWriter, _ *http.Request) error {
			if n <= len(asked) {
				w.Header().Set("Retry-After", asked[n-1])
				w.WriteHeader(http.StatusTooManyRequests)
			}
			return nil
		}}
		require.NoError(t, Post{URL: hidden}.Send(t.Context(), &http.Client{Transport: s}, discard()))
		require.Len(t, s.waits(), len(asked))
		require.Equal(t, 30*time.Second, s.waits()[0])
		require.Equal(t, time.Second, s.waits()[1])
		require.Equal(t, farWait, s.waits()[3])
		for _, wait := range s.waits() {
			require.True(t, wait >= time.Second && wait <= farWait, "%s", wait)
		}
	})
}

func TestPostGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		for says, handle := range map[string]func(int, http.ResponseWriter, *http.Request) error{
			"it answered 404": func(_ int, w http.ResponseWriter, _ *http.Request) error {
				w.WriteHeader(http.StatusNotFound)
				return nil
			},
			"it answered 307": func(_ int, w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Location", "https://elsewhere.example/")
				w.WriteHeader(http.StatusTemporaryRedirect)
				return nil
			},
		} {
			s := &server{handle: handle}
			client := &http.Client{Transport: s, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			require.EqualError(t, Post{URL: hidden}.Send(t.Context(), client, slog.New(slog.NewTextHandler(&log, nil))), says)
			require.Len(t, s.at, 1, "it can't help to send it again")
		}
		for says, handle := range map[string]func(int, http.ResponseWriter, *http.Request) error{
			"tries: it answered 503": func(_ int, w http.ResponseWriter, _ *http.Request) error {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, err := io.WriteString(w, "s3cret")
				return err
			},
			"tries: no route to host": func(int, http.ResponseWriter, *http.Request) error { return errors.New("no route to host") },
			"given up": func(_ int, _ http.ResponseWriter, r *http.Request) error {
				<-r.Context().Done()
				return r.Context().Err()
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			s := &server{handle: handle}
			begin := time.Now()
			err := Post{URL: hidden}.Send(ctx, &http.Client{Transport: s}, slog.New(slog.NewTextHandler(&log, nil)))
			require.ErrorContains(t, err, says)
			require.NotContains(t, err.Error(), "s3cret")
			require.Equal(t, 5*time.Minute, time.Since(begin))
			require.Greater(t, len(s.at), 4)
			cancel()
		}
		require.Contains(t, log.String(), "sent again")
		require.NotContains(t, log.String(), "s3cret")
	})
}

func TestPostSaysWhyItCannotSign(t *testing.T) {
	s := &server{}
	err := Post{URL: hidden, Sign: func(http.Header) error { return errors.New("no secret") }}.Send(t.Context(), &http.Client{Transport: s}, discard())
	require.EqualError(t, err, "no secret")
	require.Empty(t, s.at)
	err = Post{URL: "http://[s3cret"}.Send(t.Context(), &http.Client{Transport: s}, discard())
	require.Error(t, err)
	require.NotContains(t, err.Error(), "s3cret")
}

func TestMetricsAreWellNamed(t *testing.T) {
	reg := prometheus.NewRegistry()
	c, err := NewCounters(reg)
	require.NoError(t, err)
	c.sent.WithLabelValues("slack", "a").Inc()
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}
