package rehearsal

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// event is something that the script makes happen. Those that wait for the engine's answer run
// beside the others.
type event struct {
	at     time.Duration
	rank   int // of those at the same instant
	beside bool
	do     func() error
}

// events is everything that the script makes happen, in order.
func (p *play) events() ([]event, error) {
	var all []event
	for i, r := range p.script.Releases {
		id := fmt.Sprintf("release-%d", i+1)
		p.story.Releases = append(p.story.Releases, Told{ID: id, Deeds: make([]error, len(r.Deeds))})
		of, err := p.ofRelease(i, id, r)
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	alerts, err := p.alerts()
	if err != nil {
		return nil, err
	}
	all = append(all, alerts...)
	for _, f := range p.script.Faults {
		if f.Kind != Killed {
			continue
		}
		if f.To <= f.From {
			return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "Give a from and a later to.", "Gatekeeper can't be killed from %s to %s", f.From, f.To)
		}
		all = append(all, event{at: f.From, rank: rankGatekeeper, do: p.kill}, event{at: f.To, rank: rankGatekeeper, do: p.boot})
	}
	if len(all) > maxEvents {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "Split it into several tests.", "the test has more than %d events", maxEvents)
	}
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.rank, b.rank)) })
	return all, nil
}

// The ranks of events at one instant.
const (
	rankSystem = iota
	rankGatekeeper
	rankOpen // and alerts: those of an instant come after the releases that are opened at it
	rankDeploy
	rankPeople
)

func (p *play) ofRelease(i int, id string, r Release) ([]event, error) {
	file, err := rules.Load(*r.Request.Bundle)
	if err != nil {
		return nil, err
	}
	plan, told := file.Rollback, &p.story.Releases[i]
	req := r.Request
	req.ID = id
	all := []event{{at: r.Opened, rank: rankOpen, do: func() error {
		if err := p.stage.enter(id, req.PreviousVersion, plan, r.Rungs); err != nil {
			return err
		}
		p.deeds.Go(func() { _, told.Refused = p.now().Open(p.ctx, req) })
		return nil
	}}}
	for n, rung := range r.Rungs {
		if rung.Changed != nil {
			all = append(all, event{at: *rung.Changed, rank: rankSystem, do: func() error {
				p.stage.put(id, byHand, plan, func(i int, _ Rung) bool { return i == n })
				return nil
			}})
		}
	}
	if r.Deployed != nil {
		all = append(all, event{at: *r.Deployed, rank: rankDeploy, do: func() error {
			p.stage.put(id, "version "+req.Version, plan, func(_ int, r Rung) bool { return !r.Untouched })
			return nil
		}})
		if !r.Silent {
			all = append(all, event{at: *r.Deployed, rank: rankDeploy, beside: true, do: func() error {
				_, told.Deploy = p.now().Deployed(p.ctx, id, engine.By{Actor: "pipeline"})
				return nil
			}})
		}
	}
	if r.Closed != nil {
		all = append(all, event{at: *r.Closed, rank: rankPeople, beside: true, do: func() error {
			told.Closing = p.do(id, Deed{Do: Close, Who: "pipeline"})
			return nil
		}})
	}
	for n, d := range r.Deeds {
		all = append(all, event{at: d.At, rank: rankPeople, beside: true, do: func() error {
			told.Deeds[n] = p.do(id, d)
			return nil
		}})
	}
	return all, nil
}

// do lets a person do something.
func (p *play) do(id string, d Deed) error {
	e, by := p.now(), engine.By{Actor: d.Who, Why: d.Why}
	verbs := map[Verb]func(context.Context, string, engine.By) (gatekeeper.Release, error){
		Approve: e.Approve, Veto: e.Veto, Hold: e.Hold, Resume: e.Resume, Mark: e.Mark, Rollback: e.Rollback, Close: e.Close,
	}
	var err error
	switch d.Do {
	case Extend:
		_, err = e.Extend(p.ctx, id, d.For, by)
	case KillSwitchOn, KillSwitchOff:
		_, err = e.SetKillSwitch(p.ctx, d.Do == KillSwitchOn, by)
	default:
		verb, ok := verbs[d.Do]
		if !ok {
			return gatekeeper.Errorf(gatekeeper.CodeInvalid, "It is one of: "+strings.Join(names(Verbs), ", ")+".", "nobody can %q a release", d.Do)
		}
		_, err = verb(p.ctx, id, by)
	}
	return err
}

func names[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = string(one)
	}
	return out
}
