package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Bounds of the interval in which a pipeline promises signs of life.
const (
	minHeartbeat = time.Second
	maxHeartbeat = 24 * time.Hour
)

// signs is what is known of a pipeline's life. Signs are not journaled: after a restart they count
// from the restart.
type signs struct {
	last     time.Time // the latest sign, or since when signs are expected
	promised bool      // there will be another within the release's heartbeat
}

// newSigns begins to count at now. Until it has said deployed the pipeline owes signs; whether it
// waits for the outcome after that only its next heartbeat tells.
func newSigns(r gatekeeper.Release, now time.Time) signs {
	early := r.State == gatekeeper.Preparing || r.State == gatekeeper.Waiting
	return signs{last: now, promised: r.Heartbeat > 0 && early}
}

// Heartbeat says that the release's pipeline is alive. It is not journaled unless people were told
// that the pipeline is missing, and does nothing to a release that was opened without a heartbeat.
func (e *Engine) Heartbeat(ctx context.Context, id string, by By) (gatekeeper.Release, error) {
	return e.change(ctx, id, "keep alive", func(u *run) error {
		u.signs.promised = u.r.Heartbeat > 0
		return u.sign(by)
	})
}

// byPipeline is change for the verbs of pipelines: each of them is a sign of life.
func (e *Engine) byPipeline(ctx context.Context, id, verb string, by By, f func(u *run) error) (gatekeeper.Release, error) {
	return e.change(ctx, id, verb, func(u *run) error {
		if err := u.sign(by); err != nil {
			return err
		}
		return f(u)
	})
}

// signOpened takes the pipeline's open as a sign: it may be one that was run again.
func (u *run) signOpened(ctx context.Context, actor string) error {
	err := u.do(ctx, func() error { return u.sign(By{Actor: actor}) })
	if errors.Is(err, errRunOver) {
		return nil
	}
	return err
}

// sign notes a sign of life, and tells of it if the pipeline was missing.
func (u *run) sign(by By) error {
	now := time.Now()
	u.signs.last = now
	if u.r.SilentSince.IsZero() {
		return nil
	}
	return u.recordBy(by.Actor, now, gatekeeper.Noted{
		Text:     fmt.Sprintf("the pipeline is back after %s of silence", now.Sub(u.r.SilentSince).Round(time.Second)),
		Pipeline: &gatekeeper.Pipeline{},
	})
}

// missPipeline tells people, once, that the pipeline no longer gives the signs of life that it
// promised. The release goes on as it would without them.
func (u *run) missPipeline(now time.Time) error {
	switch u.r.State {
	case gatekeeper.Preparing:
		u.signs.last = now // it waits for the answer to open
		return nil
	case gatekeeper.Waiting, gatekeeper.Watching, gatekeeper.Holding:
	default:
		return nil // what is under way is told anyway
	}
	if !u.signs.promised || !u.r.SilentSince.IsZero() {
		return nil
	}
	late := u.signs.last.Add(time.Duration(u.r.Heartbeat))
	if now.Before(late) {
		u.wake(late)
		return nil
	}
	since := u.signs.last.UTC().Round(0)
	return u.record(gatekeeper.Noted{
		Loud:     true,
		Text:     fmt.Sprintf("no sign of life from the pipeline since %s, although it promised one every %s: %s", since.Format(time.RFC3339), u.r.Heartbeat, u.goesOn()),
		Pipeline: &gatekeeper.Pipeline{SilentSince: since},
	})
}

// goesOn says what becomes of a release without its pipeline.
func (u *run) goesOn() string {
	if u.r.State == gatekeeper.Waiting {
		deadline := u.r.OpenedAt.Add(time.Duration(u.r.StartWithin))
		return fmt.Sprintf("perhaps the deployment stopped halfway; version %s is awaited until %s", u.r.Version, deadline.UTC().Format(time.RFC3339))
	}
	return "the release is watched without it until " + u.r.WindowEnd.UTC().Format(time.RFC3339)
}
