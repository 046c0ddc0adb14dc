package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	tryFor    = 10 * time.Second // deadline of one try
	firstWait = time.Second      // before the second try; doubled up to longWait
	longWait  = time.Minute
	farWait   = 5 * time.Minute // the longest Retry-After that is honoured
	maxTries  = 100             // the message's deadline comes first
	maxAnswer = 64 << 10        // bytes read of an answer
)

// Post is a message as an HTTP request.
type Post struct {
	URL    string
	Header http.Header
	Body   []byte
	// Sign is called with the header before every try; may be nil.
	Sign func(h http.Header) error
	// Judge looks at an answer of any status: nil when the message was taken, else why not, and
	// whether sending it again can help. nil: 2xx is taken, 408, 425, 429 and 5xx come again.
	Judge func(a Answer) (again bool, err error)
}

// Answer is what was answered to a [Post].
type Answer struct {
	Status int
	Body   []byte // the first 64 KiB
}

// Taken is the judgement by the status alone.
func (a Answer) Taken() (again bool, err error) {
	switch {
	case a.Status >= 200 && a.Status < 300:
		return false, nil
	case a.Status == http.StatusRequestTimeout || a.Status == http.StatusTooEarly || a.Status == http.StatusTooManyRequests || a.Status >= 500:
		return true, fmt.Errorf("it answered %d", a.Status)
	}
	return false, fmt.Errorf("it answered %d", a.Status)
}

// Send posts p until it was taken, can't be taken, or ctx ends, with growing waits or those that
// the other side asks for (429 and 503 with Retry-After, at most five minutes). A try takes ten
// seconds at most. Errors never show the URL, headers, body or answer, where secrets may be.
func (p Post) Send(ctx context.Context, client *http.Client, log *slog.Logger) error {
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, p.URL, p.Body)
	if err != nil {
		return errors.New("the address is not valid")
	}
	req.Header = p.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	sign := func(r *http.Request) error {
		if p.Sign == nil {
			return nil
		}
		return p.Sign(r.Header)
	}
	if err := sign(req.Request); err != nil {
		return err
	}
	t := tries{judge: p.Judge, log: log}
	if t.judge == nil {
		t.judge = Answer.Taken
	}
	timed := *client
	timed.Timeout = tryFor
	c := retryablehttp.Client{
		HTTPClient: &timed,
		RetryMax:   maxTries - 1, RetryWaitMin: firstWait, RetryWaitMax: longWait,
		CheckRetry: t.again, Backoff: t.wait, PrepareRetry: sign, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	resp, err := c.Do(req)
	if resp != nil {
		_ = resp.Body.Close() // it was read already
	}
	switch {
	case t.last != nil && ctx.Err() != nil:
		return fmt.Errorf("given up after %d tries: %w", t.tries, t.last)
	case t.last != nil:
		return t.last
	}
	return discreet(err)
}

// tries judges one try after the other.
type tries struct {
	judge func(Answer) (bool, error)
	log   *slog.Logger
	tries int
	last  error // why the latest try did not do; nil once it did
}

// again implements [retryablehttp.CheckRetry].
func (t *tries) again(ctx context.Context, resp *http.Response, err error) (bool, error) {
	t.tries++
	again := false
	if err != nil {
		_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
		again, t.last = !untrusted, discreet(err)
	} else {
		a := Answer{Status: resp.StatusCode}
		if a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
			again, t.last = true, errors.New("its answer broke off")
		} else {
			_ = resp.Body.Close() // all that is wanted of it was read
			resp.Body = io.NopCloser(bytes.NewReader(nil))
			again, t.last = t.judge(a)
		}
	}
	if ctx.Err() != nil {
		return false, nil
	}
	if again && t.last != nil {
		t.log.Warn("a message was not taken and is sent again", "err", t.last, "try", t.tries)
	}
	return again && t.last != nil, nil
}

// wait implements [retryablehttp.Backoff]: no answer may ask for no wait, or for days.
func (t *tries) wait(shortest, longest time.Duration, attempt int, resp *http.Response) time.Duration {
	wait := retryablehttp.DefaultBackoff(shortest, longest, attempt, resp)
	if wait < 0 {
		return farWait // a number of seconds that overflows
	}
	return min(max(wait, shortest), farWait)
}

// discreet takes the address off an error of the HTTP client: a path or a query may be a secret.
func discreet(err error) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		return discreet(outer.Err)
	}
	return err
}
