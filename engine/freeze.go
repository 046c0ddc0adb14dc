package engine

import (
	"time"

	"github.com/robfig/cron/v3"

	"github.com/gatekeeper-engine/gatekeeper"
)

type freeze struct {
	Freeze
	schedule cron.Schedule
	zone     *time.Location
}

func parseFreezes(list []Freeze) ([]freeze, error) {
	parsed := make([]freeze, 0, len(list))
	for _, f := range list {
		bad := func(hint, what string, err error) error {
			return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "freeze %q: %s: %w", f.Name, what, err)
		}
		schedule, err := cron.ParseStandard(f.Schedule)
		if err != nil {
			return nil, bad(`write five cron fields, such as "0 17 * * FRI"`, "bad schedule", err)
		}
		zone, err := time.LoadLocation(f.TimeZone)
		if err != nil {
			return nil, bad("write an IANA name, such as Europe/Berlin", "bad time_zone", err)
		}
		if f.Duration <= 0 {
			return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "set how long it lasts, such as 62h", "freeze %q: needs a duration above 0", f.Name)
		}
		if err := f.Services.Err(); err != nil {
			return nil, bad("write a glob such as shop-*", "bad service pattern", err)
		}
		parsed = append(parsed, freeze{f, schedule, zone})
	}
	return parsed, nil
}

// active says whether the freeze holds for the service at now, and until when. A freeze whose
// schedule starts again before its duration is over goes on.
func (f freeze) active(service string, now time.Time) (until time.Time, ok bool) {
	if !f.matches(service) {
		return time.Time{}, false
	}
	for start := f.schedule.Next(now.In(f.zone).Add(-f.Duration)); !start.IsZero() && !start.After(now); start = f.schedule.Next(start) {
		until = start.Add(f.Duration)
	}
	return until, until.After(now)
}

func (f freeze) matches(service string) bool {
	return len(f.Services) == 0 || f.Services.Match(service)
}

// frozen gives the freeze that holds for a service now, and until when; holding says that only
// those that hold rollbacks count.
func (e *Engine) frozen(service string, now time.Time, holding bool) (f freeze, until time.Time, ok bool) {
	for _, f := range e.terms.Load().freezes {
		if holding && !f.HoldRollbacks {
			continue
		}
		if until, ok := f.active(service, now); ok {
			return f, until, true
		}
	}
	return freeze{}, time.Time{}, false
}
