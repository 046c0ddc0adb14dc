package httpaction

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/net/http/httpguts"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

const (
	targetVersion = 1
	retries       = 3 // after the first try, within one Apply
	waitLeast     = 100 * time.Millisecond
	waitMost      = 2 * time.Second
	drained       = 64 << 10 // bytes read of an answer that nobody looks at
)

// request is the action http/request.
type request struct {
	settings settings
	base     *url.URL
	client   *http.Client
	values   values
}

// Safety gives the retry safety that the health file declares.
func (r *request) Safety() gatekeeper.RetrySafety {
	switch {
	case r.settings.Retry != "":
		return r.settings.Retry
	case r.settings.Observe != nil:
		return gatekeeper.ByTarget
	}
	return gatekeeper.NoRetry
}

// Names gives the paths that are asked, with the values of their placeholders; ${key}, which isn't
// known yet, is the word key.
func (r *request) Names() []string {
	v := r.values.with("key")
	paths := []string{r.settings.Path, r.settings.Preflight}
	if r.settings.Observe != nil {
		paths = append(paths, r.settings.Observe.Path)
	}
	var all []string
	for _, path := range paths {
		if u, err := v.below(r.base, path); err == nil && !slices.Contains(all, u.Path) { // open has told what is wrong
			all = append(all, u.Path)
		}
	}
	return all
}

// Unobservable says whether the settings give nothing to observe.
func (r *request) Unobservable() bool { return r.settings.Observe == nil }

// call is a request, rendered for one key.
type call struct {
	url     *url.URL
	headers http.Header
	body    []byte
}

func (r *request) render(key gatekeeper.Key) (call, error) {
	v := r.values.with(key)
	var c call
	var err error
	if c.url, err = v.below(r.base, r.settings.Path); err != nil {
		return c, err
	}
	c.headers = http.Header{}
	for name, value := range r.settings.Headers {
		text, err := v.text(value, nil)
		if err == nil && !httpguts.ValidHeaderFieldValue(text) {
			err = errors.New("its value can't be sent")
		}
		if err != nil {
			return c, fmt.Errorf("headers.%s: %w", name, err)
		}
		c.headers.Set(name, text)
	}
	if c.body, err = v.json(r.settings.Body); err != nil {
		return c, fmt.Errorf("body: %w", err)
	}
	if c.body != nil {
		c.headers.Set("Content-Type", "application/json")
	}
	c.headers.Set("Idempotency-Key", string(key))
	return c, nil
}

// check renders everything once, so that a wrong placeholder is told when the release opens.
func (r *request) check() error {
	if _, err := r.render("key"); err != nil {
		return err
	}
	if r.settings.Preflight != "" {
		if _, err := r.values.below(r.base, r.settings.Preflight); err != nil {
			return fmt.Errorf("preflight: %w", err)
		}
	}
	if o := r.settings.Observe; o != nil {
		if _, err := r.values.below(r.base, o.Path); err != nil {
			return fmt.Errorf("observe: %w", err)
		}
		if _, err := r.values.json(o.Equals); err != nil {
			return fmt.Errorf("observe.equals: %w", err)
		}
	}
	return nil
}

// target gives what is pinned: not the request itself but its digest, so that Apply can tell
// whether it still is the one that was pinned.
func (r *request) target() (gatekeeper.Target, error) {
	c, err := r.render("key")
	if err != nil {
		return gatekeeper.Target{}, err
	}
	text, err := json.Marshal([]any{r.settings.Method, c.url.String(), c.headers, string(c.body)})
	if err != nil {
		return gatekeeper.Target{}, fmt.Errorf("request: %w", err)
	}
	data, err := json.Marshal(map[string]string{"request": digest(text)})
	if err != nil {
		return gatekeeper.Target{}, fmt.Errorf("request: %w", err)
	}
	return gatekeeper.Target{
		Kind: gatekeeper.Set, Version: targetVersion, Data: data,
		Says: fmt.Sprintf("what %s %s brings about", r.settings.Method, c.url),
	}, nil
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Prepare pins the request and proves that the endpoint answers: by observe, by preflight, or by
// a HEAD, which by RFC 9110 changes nothing.
func (r *request) Prepare(ctx context.Context) (gatekeeper.Target, error) {
	t, err := r.target()
	if err != nil {
		return t, err
	}
	defer r.client.CloseIdleConnections()
	switch {
	case r.settings.Preflight != "":
		err = r.preflight(ctx)
	case r.settings.Observe != nil:
		var live gatekeeper.Live
		if live, err = r.look(ctx); err == nil && live.Position == gatekeeper.Unknown {
			err = errors.New(live.Says)
		}
	default:
		err = r.knock(ctx)
	}
	if err != nil {
		return gatekeeper.Target{}, gatekeeper.Errorf(gatekeeper.CodeUnavailable,
			"see whether the endpoint is up and the connection's address and credentials are right", "%w", err)
	}
	return t, nil
}

func (r *request) preflight(ctx context.Context) error {
	u, err := r.values.below(r.base, r.settings.Preflight)
	if err != nil {
		return err
	}
	status, _, err := r.get(ctx, http.MethodGet, u)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("preflight: GET %s answered %d", u, status)
	}
	return err
}

func (r *request) knock(ctx context.Context) error {
	u, err := r.values.below(r.base, r.settings.Path)
	if err != nil {
		return err
	}
	status, _, err := r.get(ctx, http.MethodHead, u)
	if err == nil && slices.Contains([]int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, status) {
		err = fmt.Errorf("HEAD %s answered %d: the endpoint is not up", u, status)
	}
	return err
}

// Apply sends the request, again only as far as the retry safety allows.
func (r *request) Apply(ctx context.Context, t gatekeeper.Target, key gatekeeper.Key) (gatekeeper.Receipt, error) {
	if err := r.pinned(t); err != nil {
		return gatekeeper.Receipt{}, fmt.Errorf("%w (%w)", err, actions.ErrNoEffect)
	}
	c, err := r.render(key)
	if err != nil {
		return gatekeeper.Receipt{}, fmt.Errorf("%w (%w)", err, actions.ErrNoEffect)
	}
	defer r.client.CloseIdleConnections()
	s := &sending{safety: r.Safety()}
	req, err := retryablehttp.NewRequestWithContext(s.trace(ctx), r.settings.Method, c.url.String(), c.body)
	if err != nil {
		return gatekeeper.Receipt{}, fmt.Errorf("%w (%w)", err, actions.ErrNoEffect)
	}
	req.Header = c.headers
	client := retryablehttp.Client{
		HTTPClient: r.client, RetryMax: retries, RetryWaitMin: waitLeast, RetryWaitMax: waitMost,
		CheckRetry: s.again, Backoff: retryablehttp.DefaultBackoff, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	answer, err := client.Do(req)
	if err != nil {
		if answer != nil {
			discard(answer)
		}
		err = plain(err)
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return gatekeeper.Receipt{}, s.failed(fmt.Errorf("%s %s: %w", r.settings.Method, c.url, err))
	}
	discard(answer)
	if slices.Contains(r.settings.Expect, answer.StatusCode) {
		return gatekeeper.Receipt{
			Says: fmt.Sprintf("%s %s answered %d", r.settings.Method, c.url, answer.StatusCode),
			Data: map[string]string{"status": fmt.Sprint(answer.StatusCode)},
		}, nil
	}
	return gatekeeper.Receipt{}, s.failed(fmt.Errorf("%s %s answered %d", r.settings.Method, c.url, answer.StatusCode))
}

func (r *request) pinned(t gatekeeper.Target) error {
	now, err := r.target()
	if err != nil {
		return err
	}
	var a, b map[string]string
	if json.Unmarshal(t.Data, &a) != nil || json.Unmarshal(now.Data, &b) != nil || t.Version != targetVersion || a["request"] != b["request"] {
		return gatekeeper.Errorf(gatekeeper.CodeConflict, "open a new release, so that the request is pinned again",
			"the request is not the one that was pinned when the release opened")
	}
	return nil
}

// sending keeps what is known of the tries of one Apply.
type sending struct {
	safety gatekeeper.RetrySafety
	sent   atomic.Bool // this try got a connection, so it may have reached the other side
	maybe  bool        // a try may have had its effect
}

func (s *sending) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { s.sent.Store(true) },
	})
}

// again is asked after every try whether there should be another.
func (s *sending) again(ctx context.Context, answer *http.Response, err error) (bool, error) {
	harmless := err != nil && !s.sent.Load() || err == nil && harmlessStatus(answer.StatusCode)
	s.maybe = s.maybe || !harmless
	s.sent.Store(false)
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case harmless && err != nil:
		return true, nil
	case err != nil:
		return s.safety != gatekeeper.NoRetry, nil
	}
	switch answer.StatusCode {
	case http.StatusTooManyRequests:
		return true, nil
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return s.safety != gatekeeper.NoRetry, nil
	}
	return false, nil
}

// harmlessStatus says whether an answer certainly means that nothing was done. Of the 4xx, 408 is
// a timeout, and 409 may be the answer to a key whose first request still runs.
func harmlessStatus(status int) bool {
	return status/100 == 4 && status != http.StatusRequestTimeout && status != http.StatusConflict
}

func (s *sending) failed(err error) error {
	if s.maybe {
		return fmt.Errorf("%w; it may have had its effect", err)
	}
	return fmt.Errorf("%w (%w)", err, actions.ErrNoEffect)
}

func discard(answer *http.Response) {
	_, _ = io.CopyN(io.Discard, answer.Body, drained) // for the connection's sake; nobody reads it
	_ = answer.Body.Close()
}

// plain takes the method and address off an error of net/http: the caller names them.
func plain(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
