package prometheus

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Waits between the tries of one query; the deadline ends them, not their number.
const (
	firstWait = 100 * time.Millisecond
	longWait  = 2 * time.Second
	maxTries  = 8
)

const notCounted = "no answer, which is not counted against the release"

// ask posts form to the API's path and gives what came, decoded but for the data. It returns
// within the deadline of ctx and the querier's own timeout.
func (q *Querier) ask(ctx context.Context, path string, form url.Values) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-ctx.Done():
		return nil, q.noAnswer(fmt.Errorf("all %d queries that may be under way at once took too long (max_concurrent): %w", cap(q.slots), ctx.Err()))
	}
	for name, values := range q.params {
		form[name] = values
	}
	if deadline, ok := ctx.Deadline(); ok {
		form.Set("timeout", strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 1), 10)+"ms")
	}
	resp, err := q.post(ctx, q.base.JoinPath("api/v1", path).String(), form)
	if err != nil {
		return nil, q.noAnswer(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or it no longer matters
	body, err := readBody(resp)
	if err != nil {
		return nil, q.noAnswer(err)
	}
	a, err := decode(resp, body)
	if err != nil {
		return nil, q.noAnswer(err)
	}
	return a, nil
}

// post sends the form, again where that may help and while the deadline allows.
func (q *Querier) post(ctx context.Context, address string, form url.Values) (*http.Response, error) {
	begin := time.Now()
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, address, []byte(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	var last error // why the latest try was not the last: kept for when the deadline passes
	client := retryablehttp.Client{
		HTTPClient: q.client, RetryMax: maxTries - 1, RetryWaitMin: firstWait, RetryWaitMax: longWait,
		Backoff: retryablehttp.DefaultBackoff, ErrorHandler: retryablehttp.PassthroughErrorHandler,
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			again, why := retry(ctx, resp, err)
			if why != nil {
				last = why
			}
			return again, nil
		},
	}
	resp, err := client.Do(req)
	switch {
	case err == nil:
		return resp, nil
	case ctx.Err() != nil && last != nil && !errors.Is(last, ctx.Err()):
		return nil, fmt.Errorf("%w after %s; before that: %w", ctx.Err(), time.Since(begin).Round(time.Millisecond), last)
	default:
		return nil, err
	}
}

// retry says whether to ask again and, where there is one, the reason.
func retry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, nil
	}
	if err != nil {
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return false, err
		}
		again, _ := retryablehttp.DefaultRetryPolicy(ctx, nil, err)
		return again, err
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return false, nil
	}
	// Waiting for an hour that ends after the deadline would only hide what came.
	deadline, _ := ctx.Deadline()
	wait := retryablehttp.DefaultBackoff(firstWait, longWait, 0, resp)
	return time.Now().Add(wait).Before(deadline), fmt.Errorf("it answered %s", resp.Status)
}

func readBody(resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("the answer broke off after %d bytes: %w", len(body), err)
	}
	if len(body) > maxBody {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "aggregate in the expression, so that it gives fewer series",
			"the answer is larger than %d MiB", maxBody>>20)
	}
	return body, nil
}

// decode gives the envelope of an answer. Anything that is not one is an error that says what came.
func decode(resp *http.Response, body []byte) (*answer, error) {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "put the address that answers itself into url",
			"it redirects (%s) to %s, and redirects are not followed so that credentials stay where they belong", resp.Status, hostOf(resp))
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil || (a.Status != "success" && a.Status != "error") {
		return nil, notAPI(resp, body, err)
	}
	if a.Status == "error" {
		return nil, a.failure(resp)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, notAPI(resp, body, nil)
	}
	return &a, nil
}

// hostOf gives the scheme and host that a redirect names; the rest may hold a secret.
func hostOf(resp *http.Response) string {
	to, err := resp.Location()
	if err != nil {
		return "nowhere"
	}
	return to.Scheme + "://" + to.Host
}

// notAPI says what came instead of an answer of Prometheus's API. The body itself is not shown:
// it could be anything, a reflected credential too.
func notAPI(resp *http.Response, body []byte, cause error) error {
	what := fmt.Sprintf("%d bytes of %q", len(body), resp.Header.Get("Content-Type"))
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(trimmed) == 0:
		what = "an empty body"
	case trimmed[0] == '<':
		what = "an HTML page (a login page or a proxy's error?)"
	case trimmed[0] == '{' && cause != nil && strings.Contains(cause.Error(), "unexpected end"):
		what = fmt.Sprintf("JSON that breaks off after %d bytes", len(body))
	case resp.Header.Get("Content-Encoding") != "":
		what += fmt.Sprintf(" in the encoding %q, which was not asked for", resp.Header.Get("Content-Encoding"))
	}
	code, hint := gatekeeper.CodeUnavailable, "check that url is the address of a Prometheus-compatible API, without /api/v1"
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		code, hint = gatekeeper.CodeRefused, "check the credentials of this backend"
	case http.StatusMethodNotAllowed:
		hint = "queries are sent by POST: the backend or a proxy before it must allow that"
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		hint = "the backend or a proxy before it is down or overloaded"
	}
	return gatekeeper.Errorf(code, hint, "it answered %s with %s", resp.Status, what)
}

// noAnswer adds which backend it was and what that means for the release.
func (q *Querier) noAnswer(err error) error {
	code, hint := gatekeeper.CodeUnavailable, gatekeeper.HintOf(err)
	if e, ok := errors.AsType[*gatekeeper.Error](err); ok {
		code = e.Code
	} else if hint == "" {
		hint = "check that the backend is up and reachable from here"
	}
	return gatekeeper.Errorf(code, hint, "metric backend %s: %w: %s", q.base.String(), err, notCounted)
}
