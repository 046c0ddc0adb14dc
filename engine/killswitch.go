package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// killSwitch is a file: while it exists, every rollback is held. The API and the CLI write the
// same file that a person can touch by hand, so the switch works when the store does not, and
// outlives a restart. Without a path it lives in memory only.
type killSwitch struct {
	path string

	mu     sync.Mutex
	memory KillSwitch // what was set when there is no file, or when it could not be written
	turns  int        // how often it was turned on
	told   bool       // on, by what was asked of Gatekeeper or found before
}

const killSwitchLook = time.Second // how often the file is looked at

func newKillSwitch(path string) *killSwitch { return &killSwitch{path: path} }

func (k *killSwitch) state() KillSwitch {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.look()
}

// look gives the state to who holds the lock.
func (k *killSwitch) look() KillSwitch {
	if k.memory.On || k.path == "" {
		return k.memory
	}
	data, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return KillSwitch{}
	}
	on := KillSwitch{On: true, Why: "the file " + k.path + " exists"}
	if err != nil {
		on.Why += ", and can't be read: " + err.Error()
		return on
	}
	var written KillSwitch
	if json.Unmarshal(data, &written) == nil && written.Actor != "" {
		written.On = true
		return written
	}
	if info, err := os.Stat(k.path); err == nil {
		on.Since = info.ModTime().UTC()
	}
	return on
}

// turnOn turns the switch on, at the least in memory.
func (k *killSwitch) turnOn(by By, now time.Time) (KillSwitch, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.turns++
	return k.set(KillSwitch{On: true, Actor: by.Actor, Why: by.Why, Since: now.UTC()})
}

// turned gives the state, and how often the switch has been turned on.
func (k *killSwitch) turned() (KillSwitch, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.look(), k.turns
}

// turnOff turns the switch off, unless it was turned on since it had been so turns times.
func (k *killSwitch) turnOff(turns int) (KillSwitch, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.turns != turns {
		now := k.look()
		return now, gatekeeper.Errorf(gatekeeper.CodeConflict, "see why, then turn it off again",
			"the kill switch stays on: %s turned it on at the same time", now.Actor)
	}
	return k.set(KillSwitch{})
}

// set changes the switch for who holds the lock.
func (k *killSwitch) set(next KillSwitch) (KillSwitch, error) {
	k.memory = next
	var err error
	if k.path != "" {
		err = k.write(next)
		if err == nil {
			k.memory = KillSwitch{}
		}
	}
	is := k.look()
	k.told = is.On
	if err == nil {
		return is, nil
	}
	says := "the kill switch stays on, for its file can't be removed: %w"
	if next.On {
		says = "the kill switch's file can't be written; it is on in this process only, until it restarts: %w"
	}
	return is, gatekeeper.Errorf(gatekeeper.CodeInternal, "check the file and its folder's permissions and space", says, err)
}

// found gives the state, and whether somebody has turned the switch by its file since it was looked at.
func (k *killSwitch) found() (is KillSwitch, turned bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	is = k.look()
	turned = is.On != k.told
	k.told = is.On
	return is, turned
}

func (k *killSwitch) write(s KillSwitch) error {
	if !s.On {
		err := os.Remove(k.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(k.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// watch calls changed whenever the switch was turned, and found when that was by its file, until
// ctx ends. Before the first look it was on or not as the audit records say.
func (k *killSwitch) watch(ctx context.Context, on bool, changed func(), found func(KillSwitch)) {
	if k.path == "" {
		return
	}
	k.mu.Lock()
	k.told = on
	k.mu.Unlock()
	go func() {
		tick := time.NewTicker(killSwitchLook)
		defer tick.Stop()
		was := k.state().On
		for {
			is, turned := k.found()
			if turned {
				found(is)
			}
			if is.On != was {
				was = is.On
				changed()
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// switchTimeout is how long turning the switch on waits for its record.
const switchTimeout = 2 * time.Second

// KillSwitch gives the switch's state.
func (e *Engine) KillSwitch() KillSwitch { return e.killSwitch.state() }

// SetKillSwitch turns the switch that holds every rollback on or off. While it is on, breaches are
// held and people told; what was decided before is carried on. It is off only when that is
// recorded, and on at once: a record that is missing then is told in the answer, and made up for.
func (e *Engine) SetKillSwitch(ctx context.Context, on bool, by By) (KillSwitch, error) {
	before, turns := e.killSwitch.turned()
	r := gatekeeper.AuditRecord{At: time.Now(), By: by, What: gatekeeper.KillSwitchOff, Subject: everyRelease, Before: gatekeeper.AuditState(before)}
	if on {
		r.What = gatekeeper.KillSwitchOn
		return e.turnOn(ctx, r)
	}
	return e.turnOff(ctx, r, turns)
}

const everyRelease = "every release"

func (e *Engine) turnOn(ctx context.Context, r gatekeeper.AuditRecord) (KillSwitch, error) {
	is, err := e.killSwitch.turnOn(r.By, r.At)
	e.turnedTo(is, r.By)
	r.After = gatekeeper.AuditState(is)
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchTimeout)
	defer cancel()
	if lost := e.audit(within, r); lost != nil {
		e.log.Error("the kill switch is on, and that is not recorded yet", "actor", r.Actor, "err", lost)
		is.Unrecorded = "it is on, and that is not recorded yet: " + lost.Error()
		e.auditLater(r)
	}
	return is, err
}

func (e *Engine) turnOff(ctx context.Context, r gatekeeper.AuditRecord, turns int) (KillSwitch, error) {
	r.After = gatekeeper.AuditState(KillSwitch{})
	if err := e.Audit(ctx, r); err != nil {
		return e.KillSwitch(), gatekeeper.Errorf(gatekeeper.CodeUnavailable, gatekeeper.HintOf(err),
			"the kill switch stays as it is: turning it off can't be recorded: %w", err)
	}
	is, err := e.killSwitch.turnOff(turns)
	if err != nil {
		r.At = time.Now()
		e.auditRefused(ctx, r, err)
		return is, err
	}
	e.turnedTo(is, r.By)
	return is, nil
}

// turnedTo tells those who may act by it that the switch was turned.
func (e *Engine) turnedTo(is KillSwitch, by By) {
	e.log.Warn("kill switch", "on", is.On, "actor", by.Actor, "why", by.Why)
	e.noteAll(by, "the kill switch was turned "+onOff(is.On))
}

// watchKillSwitch follows the switch's file until ctx ends. What somebody did to it while no
// Gatekeeper ran, or what one that was killed could not record, is recorded first.
func (e *Engine) watchKillSwitch(ctx context.Context) {
	if e.killSwitch.path == "" {
		return
	}
	last, err := gatekeeper.LastTurn(ctx, e.cfg.Journal, math.MaxInt)
	on := last != nil && last.What == gatekeeper.KillSwitchOn
	if err != nil {
		e.log.Error("who turned the kill switch last can't be read", "err", err)
		on = e.killSwitch.state().On
	}
	e.killSwitch.watch(ctx, on, func() { e.each((*run).poke) }, e.foundTurned)
}

// foundTurned records that the switch's file was found changed: whoever did that is not known,
// unless the file says so.
func (e *Engine) foundTurned(is KillSwitch) {
	r := gatekeeper.AuditRecord{
		At: time.Now(), By: By{Actor: is.Actor, Means: gatekeeper.MeansFile, Why: is.Why}, What: gatekeeper.KillSwitchOff, Subject: everyRelease,
		Before: gatekeeper.AuditState(KillSwitch{On: !is.On}), After: gatekeeper.AuditState(is),
	}
	if is.On {
		r.What = gatekeeper.KillSwitchOn
	}
	e.log.Warn("the kill switch's file was found changed", "on", is.On, "actor", is.Actor, "why", is.Why)
	if err := e.Audit(e.ctx, r); err != nil {
		e.log.Error("that the kill switch was turned is not recorded yet", "err", err)
		e.auditLater(r)
	}
}
