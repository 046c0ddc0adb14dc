package engine_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
)

// full is a journal that takes no audit records for a time, or takes for ever.
type full struct {
	gatekeeper.Journal
	full  atomic.Bool
	hangs bool
	turn  func() // while a record is written
}

func (f *full) Audit(ctx context.Context, r gatekeeper.AuditRecord) (gatekeeper.AuditRecord, error) {
	if f.turn != nil {
		turn := f.turn
		f.turn = nil
		turn()
	}
	if f.full.Load() {
		if f.hangs {
			<-ctx.Done()
			return r, ctx.Err()
		}
		return r, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "make room", "the disk is full")
	}
	return f.Journal.Audit(ctx, r)
}

// onFull has the world run on a journal that may be full.
func (w *world) onFull(file string) *full {
	j := &full{Journal: w.journal}
	w.stop()
	w.cfg.Journal, w.cfg.KillSwitchFile = j, file
	w.boot()
	return j
}

// audited gives what is recorded, oldest first, in a few words.
func (w *world) audited() (all []string) {
	w.t.Helper()
	page, err := w.e.Audits(w.t.Context(), 0, gatekeeper.MaxAuditPage)
	require.NoError(w.t, err)
	for _, r := range page {
		all = append([]string{string(r.What) + " by " + r.Name() + " " + r.Outcome}, all...)
	}
	return all
}

func TestTheKillSwitchIsRecorded(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		by := engine.By{Actor: "alice", Means: gatekeeper.MeansToken, Why: "trouble"}
		for _, on := range []bool{true, true, false} {
			s, err := w.e.SetKillSwitch(t.Context(), on, by)
			require.NoError(t, err)
			require.Empty(t, s.Unrecorded)
		}
		require.Equal(t, []string{"kill_switch.on by alice accepted", "kill_switch.on by alice accepted", "kill_switch.off by alice accepted"}, w.audited())
		last, err := w.e.LastTurn(t.Context())
		require.NoError(t, err)
		require.Equal(t, by, last.By)
		require.Equal(t, time.Now().UTC(), last.At)
		require.Contains(t, string(last.Before), `"on":true,"actor":"alice","why":"trouble"`)
		require.JSONEq(t, `{"on":false}`, string(last.After))
	})
}

// On works at once whatever becomes of its record, which is made up for; off needs it.
func TestTheKillSwitchOnAFullJournal(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		for name, file := range map[string]string{"memory": "", "file": filepath.Join(t.TempDir(), "switch")} {
			t.Run(name, func(t *testing.T) {
				timeline(t, func(t *testing.T, w *world) {
					j := w.onFull(file)
					j.full.Store(true)
					j.hangs = hangs
					began := time.Now()
					s, err := w.e.SetKillSwitch(t.Context(), true, alice)
					require.NoError(t, err)
					require.True(t, s.On)
					require.Contains(t, s.Unrecorded, "not recorded yet")
					require.LessOrEqual(t, time.Since(began), 2*time.Second)
					require.Empty(t, w.e.KillSwitch().Unrecorded)

					s, err = w.e.SetKillSwitch(t.Context(), false, alice)
					require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
					require.ErrorContains(t, err, "the kill switch stays as it is")
					require.True(t, s.On)
					require.True(t, w.e.KillSwitch().On)
					require.Empty(t, w.audited())

					j.full.Store(false)
					w.to(time.Since(w.d) + 12*time.Second)
					require.Equal(t, []string{"kill_switch.on by alice accepted"}, w.audited())
					last, err := w.e.LastTurn(t.Context())
					require.NoError(t, err)
					require.Equal(t, began.UTC(), last.At, "when it was turned, not when that could be written")
				})
			})
		}
	}
}

// Somebody turns it on while another's turning off is being recorded: it stays on, and that is said.
func TestTheKillSwitchTurnedBothWaysAtOnce(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		j := w.onFull("")
		_, err := w.e.SetKillSwitch(t.Context(), true, alice)
		require.NoError(t, err)
		j.turn = func() {
			_, err := w.e.SetKillSwitch(t.Context(), true, engine.By{Actor: "bob"})
			require.NoError(t, err)
		}
		s, err := w.e.SetKillSwitch(t.Context(), false, alice)
		require.Equal(t, gatekeeper.CodeConflict, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, "bob turned it on")
		require.True(t, s.On)
		require.Equal(t, []string{
			"kill_switch.on by alice accepted", "kill_switch.on by bob accepted", "kill_switch.off by alice accepted", "kill_switch.off by alice refused",
		}, w.audited())
	})
}

// The switch's file is the truth: what is done to it by hand, or was when nobody ran, is recorded.
func TestTheKillSwitchFoundTurned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "switch")
	timeline(t, func(t *testing.T, w *world) {
		w.with(func(c *engine.Config) { c.KillSwitchFile = path })
		w.to(5 * time.Second)
		require.Empty(t, w.audited())
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		w.to(10 * time.Second)
		require.Equal(t, []string{"kill_switch.on by somebody accepted"}, w.audited())
		last, err := w.e.LastTurn(t.Context())
		require.NoError(t, err)
		require.Equal(t, gatekeeper.MeansFile, last.Means)

		w.with(func(*engine.Config) {})
		w.to(15 * time.Second)
		require.Len(t, w.audited(), 1, "known before the restart")
		w.with(func(*engine.Config) { require.NoError(t, os.Remove(path)) })
		w.to(20 * time.Second)
		require.Equal(t, "kill_switch.off by somebody accepted", w.audited()[1])

		_, err = w.e.SetKillSwitch(t.Context(), true, alice)
		require.NoError(t, err)
		w.to(25 * time.Second)
		require.Equal(t, []string{"kill_switch.on by alice accepted"}, w.audited()[2:], "found once, as it was asked for")
		w.with(func(*engine.Config) { // killed between the file and its record
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.WriteFile(path, []byte(`{"on":true,"actor":"carol","why":"fire"}`), 0o600))
			off := *last
			off.What, off.Actor, off.At = gatekeeper.KillSwitchOff, "alice", time.Now()
			_, err := w.journal.Audit(t.Context(), off)
			require.NoError(t, err)
		})
		w.to(30 * time.Second)
		require.Equal(t, []string{"kill_switch.off by alice accepted", "kill_switch.on by carol accepted"}, w.audited()[3:])
	})
}

// A reload that can't be recorded changes nothing; one that is refused is not recorded as done.
func TestAReloadIsRecordedFirst(t *testing.T) {
	timeline(t, func(t *testing.T, w *world) {
		j := w.onFull("")
		frozen := engine.Config{Backends: w.cfg.Backends, Freezes: []engine.Freeze{{Name: "always", Schedule: "* * * * *", Duration: time.Hour}}}
		j.full.Store(true)
		err := w.e.Reload(t.Context(), frozen, reloaded)
		require.Equal(t, gatekeeper.CodeUnavailable, gatekeeper.CodeOf(err))
		require.ErrorContains(t, err, "can't be recorded")
		j.full.Store(false)
		w.to(mnt)
		w.opened(ruleR + flagPlan)
		require.Error(t, w.e.Reload(t.Context(), engine.Config{Backends: w.cfg.Backends, DefaultBackend: "none"}, reloaded))
		require.Empty(t, w.audited())
		require.NoError(t, w.e.Reload(t.Context(), frozen, reloaded))
		require.Equal(t, []string{"config.reloaded by alice accepted"}, w.audited())
	})
}

// However much was done since, a start finds who turned the switch last.
func TestTheLastTurnLiesFarBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "switch")
	timeline(t, func(t *testing.T, w *world) {
		w.with(func(c *engine.Config) { c.KillSwitchFile = path })
		_, err := w.e.SetKillSwitch(t.Context(), true, alice)
		require.NoError(t, err)
		for range 1200 {
			require.NoError(t, w.e.Audit(t.Context(), gatekeeper.AuditRecord{By: alice, What: gatekeeper.FlagSet, Subject: "f"}))
		}
		w.with(func(*engine.Config) {})
		w.to(5 * time.Second)
		page, err := w.e.Audits(t.Context(), 0, 1)
		require.NoError(t, err)
		require.Equal(t, gatekeeper.FlagSet, page[0].What, "there is nothing to be found out")
		w.with(func(*engine.Config) { require.NoError(t, os.Remove(path)) })
		w.to(10 * time.Second)
		page, err = w.e.Audits(t.Context(), 0, 1)
		require.NoError(t, err)
		require.Equal(t, gatekeeper.KillSwitchOff, page[0].What)
	})
}

// A switch whose turning on could only be recorded after it was off again is off.
func TestTheLastTurnIsTheLatest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "switch")
	timeline(t, func(t *testing.T, w *world) {
		j := w.onFull(path)
		j.full.Store(true)
		_, err := w.e.SetKillSwitch(t.Context(), true, alice)
		require.NoError(t, err)
		w.to(500 * time.Millisecond)
		j.full.Store(false)
		_, err = w.e.SetKillSwitch(t.Context(), false, alice)
		require.NoError(t, err)
		w.to(5 * time.Second)
		require.Equal(t, []string{"kill_switch.off by alice accepted", "kill_switch.on by alice accepted"}, w.audited())
		last, err := w.e.LastTurn(t.Context())
		require.NoError(t, err)
		require.Equal(t, gatekeeper.KillSwitchOff, last.What)
		w.with(func(*engine.Config) {})
		w.to(10 * time.Second)
		require.Len(t, w.audited(), 2, "there is nothing to be found out")
	})
}
