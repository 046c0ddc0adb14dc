package prometheus

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const good = `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"2"]}]}}`

func querier(t *testing.T, c Config) *Querier {
	t.Helper()
	q, err := New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Close()) })
	return q
}

// against gives a querier with a deadline of half a second, whose backend is handler.
func against(t *testing.T, handler http.HandlerFunc) *Querier {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return querier(t, Config{Config: httpclient.Config{URL: server.URL + "/prefix/"}, Timeout: model.Duration(500 * time.Millisecond)})
}

func answering(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestWhatIsNoAnswer(t *testing.T) {
	vector := func(result string) string {
		return `{"status":"success","data":{"resultType":"vector","result":` + result + `}}`
	}
	for name, c := range map[string]struct {
		status int
		body   string
		code   gatekeeper.Code
		says   string
	}{
		"html":             {200, "<html>Login</html>", gatekeeper.CodeUnavailable, "an HTML page"},
		"empty":            {200, "", gatekeeper.CodeUnavailable, "an empty body"},
		"garbage":          {200, "\x00\x01s3cret", gatekeeper.CodeUnavailable, "8 bytes of"},
		"half json":        {200, good[:len(good)-20], gatekeeper.CodeUnavailable, "breaks off"},
		"two answers":      {200, good + good, gatekeeper.CodeUnavailable, "it answered 200 OK with"},
		"other json":       {200, `{"message":"hi"}`, gatekeeper.CodeUnavailable, "it answered 200 OK with"},
		"success with 404": {404, good, gatekeeper.CodeUnavailable, "404"},
		"not found":        {404, "404 page not found", gatekeeper.CodeUnavailable, "404"},
		"unauthorized":     {401, "no", gatekeeper.CodeRefused, "401"},
		"no post":          {405, "no", gatekeeper.CodeUnavailable, "405"},
		"bad query":        {400, `{"status":"error","errorType":"bad_data","error":"parse error"}`, gatekeeper.CodeInvalid, "parse error"},
		"failed query":     {422, `{"status":"error","errorType":"execution","error":"many-to-many"}`, gatekeeper.CodeInvalid, "many-to-many"},
		"internal":         {500, `{"status":"error","errorType":"internal","error":"disk"}`, gatekeeper.CodeUnavailable, "disk"},
		"error with 200":   {200, `{"status":"error","errorType":"internal","error":"disk"}`, gatekeeper.CodeUnavailable, "disk"},
		"no data":          {200, `{"status":"success"}`, gatekeeper.CodeUnavailable, `type ""`},
		"no result":        {200, `{"status":"success","data":{"resultType":"vector"}}`, gatekeeper.CodeUnavailable, "no result"},
		"null result":      {200, vector(`null`), gatekeeper.CodeUnavailable, "no result"},
		"unknown type":     {200, `{"status":"success","data":{"resultType":"tensor","result":[]}}`, gatekeeper.CodeUnavailable, "tensor"},
		"a string":         {200, `{"status":"success","data":{"resultType":"string","result":[1,"x"]}}`, gatekeeper.CodeInvalid, "string"},
		"a matrix":         {200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`, gatekeeper.CodeInvalid, "matrix"},
		"no value":         {200, vector(`[{"metric":{}}]`), gatekeeper.CodeUnavailable, "exactly one"},
		"null sample":      {200, vector(`[null]`), gatekeeper.CodeUnavailable, "exactly one"},
		"bad number":       {200, vector(`[{"metric":{},"value":[1,"x"]}]`), gatekeeper.CodeUnavailable, "not a number"},
		"number untexted":  {200, vector(`[{"metric":{},"value":[1,2]}]`), gatekeeper.CodeUnavailable, "not a vector"},
		"three parts":      {200, vector(`[{"metric":{},"value":[1,"2",3]}]`), gatekeeper.CodeUnavailable, "3 parts"},
		"bad label":        {200, vector(`[{"metric":{"a":1},"value":[1,"2"]}]`), gatekeeper.CodeUnavailable, "not a vector"},
		"bad time":         {200, vector(`[{"metric":{},"value":[1e300,"2"]}]`), gatekeeper.CodeUnavailable, "not one"},
		"many series": {
			200, vector("[" + strings.Repeat(`{"metric":{},"value":[1,"2"]},`, maxSeries) + `{"metric":{},"value":[1,"2"]}]`),
			gatekeeper.CodeInvalid, "10001 series",
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := against(t, answering(c.status, "text/odd", c.body))
			v, err := q.Query(t.Context(), "up", time.Unix(1, 0))
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "not counted against the release")
			require.ErrorContains(t, err, "/prefix")
			require.NotContains(t, err.Error(), "s3cret")
			require.Equal(t, c.code, gatekeeper.CodeOf(err), err)
			require.NotEmpty(t, gatekeeper.HintOf(err), err)
			require.Empty(t, v.Samples)
		})
	}
}

func TestWhatIsNoRange(t *testing.T) {
	for name, c := range map[string]struct{ result, says string }{
		"not asked for":   {`[{"metric":{},"values":[[0.5,"1"]]}]`, "not asked for"},
		"before":          {`[{"metric":{},"values":[[-1,"1"]]}]`, "not asked for"},
		"after":           {`[{"metric":{},"values":[[99,"1"]]}]`, "not asked for"},
		"twice":           {`[{"metric":{},"values":[[1,"1"],[1,"2"]]}]`, "two values"},
		"twice by series": {`[{"metric":{},"values":[[1,"1"]]},{"metric":{},"values":[[1,"1"]]}]`, "two values"},
	} {
		t.Run(name, func(t *testing.T) {
			q := against(t, answering(200, "application/json", `{"status":"success","data":{"resultType":"matrix","result":`+c.result+`}}`))
			_, err := q.QueryRange(t.Context(), "up", time.Unix(0, 0), time.Unix(10, 0), time.Second)
			require.ErrorContains(t, err, c.says)
		})
	}
	q := against(t, answering(200, "application/json", good))
	_, err := q.QueryRange(t.Context(), "up", time.Unix(0, 0), time.Unix(10, 0), time.Second)
	require.ErrorContains(t, err, `"vector", want a matrix`)
}

func TestHistogramsAreTextsAndInfosNoWarnings(t *testing.T) {
	q := against(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "query_range") {
			_, _ = io.WriteString(w, `{"status":"success","warnings":["slow"],"isPartial":true,"data":{"resultType":"matrix","result":[
				{"metric":{"a":"b"},"values":[[0,"1"],[2,"3"]],"histograms":[[1,{"count":"4","sum":"5"}]]}]}}`)
			return
		}
		_, _ = io.WriteString(w, `{"status":"success","infos":["not a counter?"],"data":{"resultType":"vector","result":[
			{"metric":{"a":"b"},"histogram":[1,{"count":"4","sum":"5","buckets":[[1,"-4","-2","0.5"],[3,"-0.001","0.001","1"],[0,"2","+Inf","2.5"]]}]}]}}`)
	})
	v, err := q.Query(t.Context(), "h", time.Unix(1, 0))
	require.NoError(t, err)
	require.Empty(t, v.Warnings, "an info leaves the answer whole")
	require.Equal(t, []gatekeeper.Sample{{
		Labels: map[string]string{"a": "b"}, Histogram: "{count:4, sum:5, [-4,-2):0.5, [-0.001,0.001]:1, (2,+Inf]:2.5}",
	}}, v.Samples)

	m, err := q.QueryRange(t.Context(), "h", time.Unix(0, 0), time.Unix(2, 0), time.Second)
	require.NoError(t, err)
	require.Len(t, m.Series[0].Points, 3)
	require.Equal(t, "{count:4, sum:5}", m.Series[0].Points[1].Histogram)
	require.Len(t, m.Warnings, 2, "a warning and isPartial both make the answer partial")
}

func TestRequestIsWhatTheBackendExpects(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("s3cret\n"), 0o600))
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		_ = r.ParseForm()
		_, _ = io.WriteString(w, good)
	}))
	defer server.Close()
	q := querier(t, Config{
		Config:      httpclient.Config{URL: server.URL + "/prom", BasicAuth: &httpclient.BasicAuth{Username: "u", PasswordFile: password}},
		Params:      map[string][]string{"dedup": {"true"}},
		QueryOffset: model.Duration(30 * time.Second),
	})
	_, err := q.Query(t.Context(), `a{b="ü&c=d"} > 1`, time.Unix(100, 123_456_789))
	require.NoError(t, err)
	require.Equal(t, "/prom/api/v1/query", got.URL.Path)
	require.Empty(t, got.URL.RawQuery)
	require.Equal(t, `a{b="ü&c=d"} > 1`, got.PostForm.Get("query"))
	require.Equal(t, "70.123", got.PostForm.Get("time"))
	require.Equal(t, "true", got.PostForm.Get("dedup"))
	require.NotEmpty(t, got.PostForm.Get("timeout"))
	require.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("u:s3cret")), got.Header.Get("Authorization"))
}

func TestRetriesWhatMayHelp(t *testing.T) {
	for _, status := range []int{429, 502, 503, 504} {
		var calls atomic.Int32
		q := against(t, func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			if calls.Add(1) == 1 {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(status)
				return
			}
			if r.PostForm.Get("query") != "up" {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			_, _ = io.WriteString(w, good)
		})
		v, err := q.Query(t.Context(), "up", time.Now())
		require.NoError(t, err, status)
		require.Len(t, v.Samples, 1)
		require.EqualValues(t, 2, calls.Load())
	}
	for _, status := range []int{400, 401, 404, 500} {
		var calls atomic.Int32
		q := against(t, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.WriteHeader(status)
		})
		_, err := q.Query(t.Context(), "up", time.Now())
		require.Error(t, err)
		require.EqualValues(t, 1, calls.Load(), "%d is not asked again", status)
	}
}

func TestRetriesNeverOutliveTheDeadline(t *testing.T) {
	patient := func(t *testing.T, q *Querier) error {
		t.Helper()
		begin := time.Now()
		_, err := q.Query(t.Context(), "up", time.Now())
		require.Error(t, err)
		require.Less(t, time.Since(begin), 3*time.Second)
		require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
		return err
	}
	t.Run("hanging", func(t *testing.T) {
		q := against(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
		require.ErrorIs(t, patient(t, q), context.DeadlineExceeded)
	})
	t.Run("hanging in the body", func(t *testing.T) {
		q := against(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, good[:10])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		require.ErrorContains(t, patient(t, q), "broke off after 10 bytes")
	})
	t.Run("down for ever", func(t *testing.T) {
		q := querier(t, Config{Config: httpclient.Config{URL: "http://" + servertest.Address(t)}, Timeout: model.Duration(300 * time.Millisecond)})
		require.ErrorContains(t, patient(t, q), "connection refused")
	})
	t.Run("overloaded for long", func(t *testing.T) {
		var calls atomic.Int32
		q := against(t, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		})
		require.ErrorContains(t, patient(t, q), "429")
		require.EqualValues(t, 1, calls.Load())
	})
	t.Run("no slot", func(t *testing.T) {
		q := against(t, answering(200, "application/json", good))
		for range cap(q.slots) {
			q.slots <- struct{}{}
		}
		require.ErrorContains(t, patient(t, q), "max_concurrent")
	})
}

func TestConnectionThatBreaksOff(t *testing.T) {
	q := against(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		writeHalf(buf)
	})
	_, err := q.Query(t.Context(), "up", time.Now())
	require.ErrorContains(t, err, "broke off")
}

func writeHalf(buf *bufio.ReadWriter) {
	_, _ = fmt.Fprintf(buf, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(good), good[:30])
	_ = buf.Flush()
}

func TestHugeAnswerIsCutShort(t *testing.T) {
	var sent atomic.Int64
	q := against(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range 4 * maxBody >> 20 {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	q.timeout = 30 * time.Second
	_, err := q.Query(t.Context(), "up", time.Now())
	require.ErrorContains(t, err, "larger than 32 MiB")
	require.Less(t, sent.Load(), int64(3*maxBody))
}

func TestRedirectIsNotFollowed(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("was followed") }))
	defer stranger.Close()
	q := against(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, stranger.URL+"/login?token=s3cret", http.StatusTemporaryRedirect)
	})
	_, err := q.Query(t.Context(), "up", time.Now())
	require.ErrorContains(t, err, "redirects (307 Temporary Redirect) to "+stranger.URL+",")
	require.NotContains(t, err.Error(), "s3cret")
}

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	url := httpclient.Config{URL: "http://localhost"}
	for _, c := range []Config{
		{},
		{Config: url, Timeout: -1},
		{Config: url, QueryOffset: -1},
		{Config: url, MaxConcurrent: -1},
		{Config: url, Params: map[string][]string{"query": {"x"}}},
	} {
		_, err := New(c)
		require.Equal(t, gatekeeper.CodeInvalid, gatekeeper.CodeOf(err))
	}
}
