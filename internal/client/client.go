// Package client speaks Gatekeeper's HTTP API for the command line. It tells a daemon that can't
// be reached ([Unreachable]) from one that says no ([Failure]), retries what is safe to repeat,
// and follows a release through restarts of the daemon.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const (
	maxAnswer = 64 << 20 // bytes of an answer that are read
	retries   = 4
)

// Client asks one daemon. Its methods may be called concurrently.
type Client struct {
	base  *url.URL
	token string
	calls *retryablehttp.Client
	plain *http.Client // for streams, which have no end by themselves
}

// New gives a client of the daemon at address, whose calls h makes; token may be empty. Nothing is sent yet.
func New(address, token string, h *http.Client) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "write it like http://127.0.0.1:9095", "the daemon's address %q is no http or https address", address)
	}
	calls := &retryablehttp.Client{
		HTTPClient: h, RetryMax: retries, RetryWaitMin: 200 * time.Millisecond, RetryWaitMax: 2 * time.Second,
		CheckRetry: retry, Backoff: retryablehttp.DefaultBackoff, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	return &Client{base: u, token: strings.TrimSpace(token), calls: calls, plain: h}, nil
}

// Unreachable is the error of a daemon that gave no answer, or could not serve at all.
type Unreachable struct {
	Address string
	Err     error
}

// Error names the address and the cause.
func (u *Unreachable) Error() string {
	if e, ok := errors.AsType[*gatekeeper.Error](u.Err); ok {
		return fmt.Sprintf("Gatekeeper at %s can't serve now: %s", u.Address, e.Message)
	}
	return fmt.Sprintf("Gatekeeper at %s can't be reached, so nothing is known of the release: %v", u.Address, u.Err)
}

// Unwrap gives the cause.
func (u *Unreachable) Unwrap() error { return u.Err }

// Failure is the daemon's no.
type Failure struct{ Problem api.Problem }

// Error gives what happened, then everything that was wrong with the input.
func (f *Failure) Error() string {
	var b strings.Builder
	b.WriteString(f.Problem.Detail)
	for _, d := range f.Problem.Errors {
		b.WriteString("\n  ")
		switch {
		case d.File != "" && d.Line > 0:
			fmt.Fprintf(&b, "%s:%d:%d: ", d.File, d.Line, d.Column)
		case d.File != "":
			b.WriteString(d.File + ": ")
		case d.Location != "":
			b.WriteString(d.Location + ": ")
		}
		b.WriteString(d.Message)
		if d.Hint != "" {
			b.WriteString("\n    hint: " + d.Hint)
		}
	}
	return b.String()
}

// Unwrap gives the error with the code and the hint that the daemon told.
func (f *Failure) Unwrap() error {
	return &gatekeeper.Error{Code: f.Problem.Code, Message: f.Problem.Detail, Hint: f.Problem.Hint}
}

// once marks the context of a call that must not be repeated when it may have had its effect.
type once struct{}

// retry repeats a call that did not reach the daemon, or found it not ready; one that may have
// had its effect only if it is safe to repeat.
func retry(ctx context.Context, res *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		if ctx.Value(once{}) != nil {
			op, ok := errors.AsType[*net.OpError](err)
			return ok && op.Op == "dial", nil
		}
		again, _ := retryablehttp.ErrorPropagatedRetryPolicy(ctx, res, err) // its error is err
		return again, nil
	}
	switch res.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, nil
	}
	return false, nil
}

// do sends a call and decodes its answer into out, which may be nil.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body, out any) error {
	var raw io.ReadSeeker
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		raw = bytes.NewReader(text)
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, method, c.address(path, query), raw)
	if err != nil {
		return err
	}
	c.prepare(req.Request)
	res, err := c.calls.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return c.failure(res)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("Gatekeeper at %s gave an answer that can't be read: %w", c.base, err)
	}
	return nil
}

func (c *Client) address(path string, query url.Values) string {
	u := c.base.JoinPath("api", "v1", path)
	u.RawQuery = query.Encode()
	return u.String()
}

func (c *Client) prepare(req *http.Request) {
	req.Header.Set("Accept", "application/json")
	if req.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // its text would repeat the address
	}
	return &Unreachable{Address: c.base.String(), Err: err}
}

// failure reads the problem of an answer. A daemon that can't serve now, or a proxy that can't
// reach it, is unreachable.
func (c *Client) failure(res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return &Unreachable{Address: c.base.String(), Err: err}
	}
	var p api.Problem
	theirs := json.Unmarshal(text, &p) == nil && p.Detail != ""
	if !theirs {
		p = api.Problem{Status: res.StatusCode, Code: gatekeeper.CodeInternal, Detail: "the answer is " + res.Status + ": is that Gatekeeper?"}
	}
	switch res.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		why := errors.New(p.Detail)
		if theirs {
			why = (&Failure{Problem: p}).Unwrap()
		}
		return &Unreachable{Address: c.base.String(), Err: why}
	}
	return &Failure{Problem: p}
}

// Open opens a release. Body.ID must be set: it makes the call safe to repeat.
func (c *Client) Open(ctx context.Context, body api.OpenBody) (gatekeeper.Release, error) {
	var r gatekeeper.Release
	err := c.do(ctx, http.MethodPost, "releases", nil, body, &r)
	return r, err
}

// Ask asks for one of a release's verbs, such as "approve".
func (c *Client) Ask(ctx context.Context, id, verb string, by api.ByBody) (gatekeeper.Release, error) {
	var r gatekeeper.Release
	err := c.do(context.WithValue(ctx, once{}, true), http.MethodPost, release(id)+"/"+verb, nil, by, &r)
	return r, err
}

// Extend moves the end of a release's window.
func (c *Client) Extend(ctx context.Context, id string, d time.Duration, by api.ByBody) (gatekeeper.Release, error) {
	var r gatekeeper.Release
	body := api.ExtendBody{ByBody: by, By: gatekeeper.Duration(d)}
	err := c.do(context.WithValue(ctx, once{}, true), http.MethodPost, release(id)+"/extend", nil, body, &r)
	return r, err
}

// Release gives a release.
func (c *Client) Release(ctx context.Context, id string) (gatekeeper.Release, error) {
	var r gatekeeper.Release
	err := c.do(ctx, http.MethodGet, release(id), nil, nil, &r)
	return r, err
}

// Facts gives everything that happened to a release.
func (c *Client) Facts(ctx context.Context, id string) ([]gatekeeper.Fact, error) {
	var list api.FactList
	err := c.do(ctx, http.MethodGet, release(id)+"/facts", nil, nil, &list)
	return list.Facts, err
}

// File gives the health file that a release pinned.
func (c *Client) File(ctx context.Context, id string) (rules.Bundle, error) {
	var b rules.Bundle
	err := c.do(ctx, http.MethodGet, release(id)+"/file", nil, nil, &b)
	return b, err
}

// List gives a page of releases, newest first.
func (c *Client) List(ctx context.Context, q gatekeeper.Listing) (api.ReleaseList, error) {
	query := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	if q.Open {
		query.Set("open", "true")
	}
	if q.After != "" {
		query.Set("after", q.After)
	}
	var page api.ReleaseList
	err := c.do(ctx, http.MethodGet, "releases", query, nil, &page)
	return page, err
}

// KillSwitch gives the kill switch's state.
func (c *Client) KillSwitch(ctx context.Context) (engine.KillSwitch, error) {
	var k engine.KillSwitch
	err := c.do(ctx, http.MethodGet, "kill-switch", nil, nil, &k)
	return k, err
}

// SetKillSwitch turns the kill switch on or off.
func (c *Client) SetKillSwitch(ctx context.Context, on bool, by api.ByBody) (engine.KillSwitch, error) {
	var k engine.KillSwitch
	err := c.do(ctx, http.MethodPut, "kill-switch", nil, api.KillSwitchBody{ByBody: by, On: on}, &k)
	return k, err
}

// Flags gives every flag of the built-in store.
func (c *Client) Flags(ctx context.Context) (api.FlagList, error) {
	var list api.FlagList
	err := c.do(ctx, http.MethodGet, "flags", nil, nil, &list)
	return list, err
}

// Flag gives a flag.
func (c *Client) Flag(ctx context.Context, key string) (api.Flag, error) {
	var f api.Flag
	err := c.do(ctx, http.MethodGet, "flags/"+url.PathEscape(key), nil, nil, &f)
	return f, err
}

// PutFlag creates or replaces a flag whose version is f.Version.
func (c *Client) PutFlag(ctx context.Context, f api.Flag, by api.ByBody) (api.Flag, error) {
	var stored api.Flag
	body := api.FlagBody{
		ByBody: by, Description: f.Description, Variants: f.Variants, Enabled: f.Enabled, On: f.On, Off: f.Off,
		Percentage: &f.Percentage, Allow: f.Allow, Version: f.Version,
	}
	err := c.do(context.WithValue(ctx, once{}, true), http.MethodPut, "flags/"+url.PathEscape(f.Key), nil, body, &stored)
	return stored, err
}

func release(id string) string { return "releases/" + url.PathEscape(id) }
