package engine

import (
	"reflect"
	"slices"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// terms is the part of the configuration that [Engine.Reload] replaces as a whole. It doesn't change.
type terms struct {
	Connections    map[string]actions.Connection
	Plans          map[string][]rules.RungSpec
	HealthFiles    func(name string) (rules.Bundle, error)
	Policy         Policy
	DryRun         bool
	DryRunServices gatekeeper.Globs
	CoolDown       time.Duration
	freezes        []freeze
}

func newTerms(cfg Config) (*terms, error) {
	freezes, err := parseFreezes(cfg.Freezes)
	if err != nil {
		return nil, err
	}
	t := &terms{
		Connections: cfg.Connections, Plans: cfg.Plans, HealthFiles: cfg.HealthFiles, Policy: cfg.Policy,
		DryRun: cfg.DryRun, DryRunServices: cfg.DryRunServices, CoolDown: cfg.CoolDown, freezes: freezes,
	}
	if t.HealthFiles == nil {
		t.HealthFiles = noHealthFiles
	}
	return t, nil
}

func noHealthFiles(name string) (rules.Bundle, error) {
	return rules.Bundle{}, gatekeeper.Errorf(gatekeeper.CodeNotFound, "send the health file with the request, or set health_files in the daemon's configuration",
		"health file %q was named, but the operator configured no folder of health files", name)
}

// Reload takes from cfg what may change while releases run: Connections, Plans, HealthFiles, Policy,
// DryRun, DryRunServices, Freezes and CoolDown; the rest stays as it was. An opening is wholly
// before or after it. Open releases keep their rules, their plan and their connections until the
// engine runs again; freezes that hold rollbacks and the cool-down hold for them from now on. An
// error changes nothing. Open releases for which something else holds now have it noted.
func (e *Engine) Reload(cfg Config, by By) error {
	next, err := newTerms(cfg)
	if err != nil {
		return err
	}
	e.opens.Lock()
	last := e.terms.Swap(next)
	e.opens.Unlock()
	if last.CoolDown != next.CoolDown || !slices.EqualFunc(last.freezes, next.freezes, sameFreeze) {
		e.noteAll(by, "the configuration was reloaded: other freezes or another cool-down hold from now on")
	}
	return nil
}

func sameFreeze(a, b freeze) bool { return reflect.DeepEqual(a.Freeze, b.Freeze) }

// noteAll notes in every open release what was done that concerns it, and by whom, and has it look again.
func (e *Engine) noteAll(by By, text string) {
	e.each(func(u *run) {
		go u.send(func() {
			if err := u.recordBy(by.Actor, time.Now(), gatekeeper.Noted{Text: join2(text, by.Why)}); err != nil {
				u.log.Error("it could not be noted what was done", "what", text, "actor", by.Actor, "err", err)
			}
		})
	})
}
