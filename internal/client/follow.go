package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

const (
	silence  = 35 * time.Second // without even a comment the connection is dead
	pause    = time.Second      // before the stream is opened again
	maxEvent = 4 << 20          // bytes of one event
)

// Follow calls told with every fact of a release from the one after last, as it comes, and
// returns nil after the closed one. Once the daemon has answered, it may be away for patience at
// a time; told may get a fact twice after that. An error of told ends it.
func (c *Client) Follow(ctx context.Context, id string, last int64, patience time.Duration, told func(gatekeeper.Fact) error) error {
	f := follower{Client: c, id: id, last: last, told: told}
	var away time.Time // since when the daemon is away; zero: it is there
	for {
		err := f.stream(ctx)
		unreachable, isAway := errors.AsType[*Unreachable](err)
		switch {
		case err == nil && f.closed:
			return nil
		case err != nil && !isAway:
			return err
		case f.answered:
			f.answered, away = false, time.Now()
		case away.IsZero(), time.Since(away) > patience:
			if unreachable != nil {
				return unreachable
			}
			return &Unreachable{Address: c.base.String(), Err: errors.New("the stream ended again and again")}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// follower is one call of Follow.
type follower struct {
	*Client
	id       string
	last     int64
	told     func(gatekeeper.Fact) error
	answered bool // the latest stream began
	closed   bool
}

// stream reads one stream to its end. A stream that breaks is an [Unreachable], or nil.
func (f *follower) stream(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.address(release(f.id)+"/events", nil), nil)
	if err != nil {
		return err
	}
	f.prepare(req)
	req.Header.Set("Accept", "text/event-stream")
	if f.last > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(f.last, 10))
	}
	deadline := time.AfterFunc(silence, func() { stop(errSilent) })
	defer deadline.Stop()
	res, err := f.plain.Do(req)
	if err != nil {
		return f.broken(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return f.failure(res)
	}
	f.answered = true
	in := bufio.NewReader(res.Body)
	var data strings.Builder
	for {
		line, err := readLine(in)
		if err != nil {
			return f.broken(ctx, err)
		}
		deadline.Reset(silence)
		switch value, isData := strings.CutPrefix(line, "data: "); {
		case isData:
			data.WriteString(value)
		case line == "" && data.Len() > 0:
			if err := f.tell(data.String()); err != nil || f.closed {
				return err
			}
			data.Reset()
		}
	}
}

var errSilent = errors.New("the daemon has been silent for too long")

// broken says whether the caller ended the stream, or the daemon.
func (f *follower) broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errSilent) {
		return cause
	} else if cause != nil {
		err = cause
	}
	return &Unreachable{Address: f.base.String(), Err: err}
}

func (f *follower) tell(data string) error {
	var fact gatekeeper.Fact
	if err := json.Unmarshal([]byte(data), &fact); err != nil {
		return fmt.Errorf("Gatekeeper at %s sent a fact that can't be read: %w", f.base, err)
	}
	if err := f.told(fact); err != nil {
		return err
	}
	f.last = max(f.last, fact.Seq)
	f.closed = fact.Body.Kind() == gatekeeper.KindClosed
	return nil
}

// readLine gives the next line without its end.
func readLine(in *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		part, more, err := in.ReadLine()
		if err != nil {
			return "", err
		}
		b.Write(part)
		switch {
		case b.Len() > maxEvent:
			return "", io.ErrShortBuffer
		case !more:
			return b.String(), nil
		}
	}
}
