package prometheus

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/queriertest"
)

func TestInspectRealPrometheus(t *testing.T) {
	exporter := httptest.NewServer(queriertest.Exporter())
	defer exporter.Close()
	q := querier(t, Config{Config: httpclient.Config{URL: start(t, exporter.Listener.Addr().String())}})
	require.Eventually(t, func() bool {
		v, err := q.Query(t.Context(), "qt_scrapes_total >= 4", time.Now())
		return err == nil && len(v.Samples) == 1
	}, time.Minute, 200*time.Millisecond)

	types, err := q.Types(t.Context(), "qt_gauge")
	require.NoError(t, err)
	require.Equal(t, []string{"gauge"}, types)
	types, err = q.Types(t.Context(), "qt_nothing")
	require.NoError(t, err)
	require.Empty(t, types)

	kept, err := q.Retention(t.Context())
	require.NoError(t, err)
	require.Equal(t, 15*24*time.Hour, kept)

	for _, selector := range []string{"qt_gauge", `qt_label{text!=""}`, `{__name__="qt_gauge",case="a"}`} {
		times, err := q.SampleTimes(t.Context(), selector, time.Minute, time.Now())
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(times), 4, selector)
		require.InDelta(t, 1, times[1].Sub(times[0]).Seconds(), 0.3)
	}
	times, err := q.SampleTimes(t.Context(), "qt_nothing", time.Minute, time.Now())
	require.NoError(t, err)
	require.Empty(t, times)

	cost, err := q.Cost(t.Context(), "sum(qt_gauge)", time.Now())
	require.NoError(t, err)
	require.Equal(t, int64(2), cost.Samples)
	require.Positive(t, cost.Took)
	_, err = q.Cost(t.Context(), "qt_gauge + on () qt_gauge", time.Now())
	require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
}

func TestInspectWhatIsNoAPI(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"a login page": {http.StatusOK, "<html>"},
		"refused":      {http.StatusUnauthorized, "no"},
		"an error":     {http.StatusInternalServerError, `{"status":"error","errorType":"internal","error":"broken"}`},
		"another page": {http.StatusOK, `{"status":"success","data":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(answer.status)
				_, _ = fmt.Fprint(w, answer.body)
			}))
			defer server.Close()
			q := querier(t, Config{Config: httpclient.Config{URL: server.URL}})
			_, err := q.Types(t.Context(), "x")
			require.ErrorContains(t, err, "metric backend "+server.URL)
			_, err = q.Retention(t.Context())
			require.ErrorContains(t, err, "metric backend "+server.URL)
		})
	}
}
