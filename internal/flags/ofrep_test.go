package flags

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func ask(t *testing.T, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(data)
}

func TestOFREP(t *testing.T) {
	s := &Store{seen: make(map[string]int64)}
	s.flags.Store(&map[string]*definition{})
	remember := func(f Flag) {
		f, err := f.complete()
		require.NoError(t, err)
		s.remember(f.Key, define(f), f.Version)
	}
	remember(Flag{Key: "checkout", Enabled: true, Percentage: 100, Version: 7})
	remember(Flag{Key: "colour", Enabled: true, Percentage: 50, Allow: []string{"ann"}, Version: 9, Variants: map[string]any{"on": "blue", "off": "red"}})
	web := httptest.NewServer(Handler(s))
	t.Cleanup(web.Close)
	one, bulk := web.URL+"/ofrep/v1/evaluate/flags/", web.URL+"/ofrep/v1/evaluate/flags"

	for name, test := range map[string]struct {
		url, body string
		status    int
		want      string
	}{
		"boolean":       {one + "checkout", `{"context":{"targetingKey":"bob","age":3}}`, 200, `{"key":"checkout","reason":"STATIC","variant":"on","value":true,"metadata":{"version":7}}`},
		"text":          {one + "colour", `{"context":{"targetingKey":"ann"}}`, 200, `{"key":"colour","reason":"TARGETING_MATCH","variant":"on","value":"blue","metadata":{"version":9}}`},
		"empty body":    {one + "checkout", ``, 200, `{"key":"checkout","reason":"STATIC","variant":"on","value":true,"metadata":{"version":7}}`},
		"not found":     {one + "nothing", `{}`, 404, `{"key":"nothing","errorCode":"FLAG_NOT_FOUND","errorDetails":"there is no such flag"}`},
		"no key":        {one + "colour", `{"context":{}}`, 400, `{"key":"colour","errorCode":"TARGETING_KEY_MISSING","errorDetails":"the flag is on for a percentage of targeting keys, and the context has no targetingKey"}`},
		"no JSON":       {one + "colour", `{"context":`, 400, `{"key":"colour","errorCode":"PARSE_ERROR","errorDetails":"the body is not a JSON object"}`},
		"list":          {one + "colour", `[]`, 400, `{"key":"colour","errorCode":"PARSE_ERROR","errorDetails":"the body is not a JSON object"}`},
		"context":       {one + "colour", `{"context":3}`, 400, `{"key":"colour","errorCode":"INVALID_CONTEXT","errorDetails":"the context is not a JSON object"}`},
		"targeting key": {one + "colour", `{"context":{"targetingKey":3}}`, 400, `{"key":"colour","errorCode":"INVALID_CONTEXT","errorDetails":"the context's targetingKey is not a string"}`},
		"large":         {one + "colour", `{"context":{"x":"` + strings.Repeat("x", MaxBody) + `"}}`, 400, `{"key":"colour","errorCode":"PARSE_ERROR","errorDetails":"the body is larger than 64 KiB"}`},
		"bulk, bad":     {bulk, `{"context":[]}`, 400, `{"errorCode":"INVALID_CONTEXT","errorDetails":"the context is not a JSON object"}`},
		"bulk": {bulk, `{"context":{}}`, 200, `{"flags":[{"key":"checkout","reason":"STATIC","variant":"on","value":true,"metadata":{"version":7}},
			{"key":"colour","errorCode":"TARGETING_KEY_MISSING","errorDetails":"the flag is on for a percentage of targeting keys, and the context has no targetingKey"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := ask(t, test.url, test.body)
			require.Equal(t, test.status, resp.StatusCode)
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			require.JSONEq(t, test.want, body)
		})
	}

	resp, _ := ask(t, one+"checkout", `{}`, "Content-Type", "text/plain")
	require.Equal(t, 400, resp.StatusCode)
	resp, err := http.Get(one + "checkout") //nolint:noctx // only the method matters
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 405, resp.StatusCode)

	resp, _ = ask(t, bulk, `{"context":{"targetingKey":"ann"}}`)
	etag := resp.Header.Get("ETag")
	require.NotEmpty(t, etag)
	for _, known := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
		resp, body := ask(t, bulk, `{"context":{"targetingKey":"ann"}}`, "If-None-Match", known)
		require.Equal(t, 304, resp.StatusCode, known)
		require.Empty(t, body)
	}
	remember(Flag{Key: "checkout", Version: 20})
	resp, _ = ask(t, bulk, `{"context":{"targetingKey":"ann"}}`, "If-None-Match", etag)
	require.Equal(t, 200, resp.StatusCode, "a change")
	require.NotEqual(t, etag, resp.Header.Get("ETag"))
}

func FuzzOFREP(f *testing.F) {
	f.Add(`{"context":{"targetingKey":"ann"}}`)
	f.Add(`{"context":null}`)
	s := &Store{}
	s.flags.Store(&map[string]*definition{})
	h := Handler(s)
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/ofrep/v1/evaluate/flags", strings.NewReader(body)))
		require.Contains(t, []int{200, 400}, w.Code)
	})
}
