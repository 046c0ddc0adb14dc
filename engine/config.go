package engine

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// Config is what the operator gives the engine. Journal, Backends and Actions are needed; the
// rest has defaults.
type Config struct {
	Journal        gatekeeper.Journal
	Backends       map[string]rules.Querier
	DefaultBackend string // the backend of health files that name none
	Actions        *actions.Registry
	Connections    map[string]actions.Connection // by name
	Plans          map[string][]rules.RungSpec   // rollback plans for health files that have none
	HealthFiles    func(name string) (rules.Bundle, error)
	Tell           func(r gatekeeper.Release, f gatekeeper.Fact) // people are told; must not block; may be nil

	Policy Policy // who may open what, and with which rungs; nil: everybody everything

	KillSwitchFile string           // while it exists every rollback is held; "" keeps the switch in memory only
	DryRun         bool             // for every release
	DryRunServices gatekeeper.Globs // for these services
	Freezes        []Freeze         // when opens are refused
	CoolDown       time.Duration    // after a rollback, breaches of the same service and environment ask a person; default 0: only while a rule still sees the old harm

	QueryTimeout  time.Duration // deadline of one query; default 10s
	ActionTimeout time.Duration // deadline of one Prepare, Apply or Observe; default 30s
	HoldFor       time.Duration // default deadline of a hold; default 30m
	MaxBundle     int           // bytes; default 1 MiB

	// Phase shifts the slots of a rule group; nil spreads them by a hash, as Prometheus does, until it
	// is seen when the rule's metrics are scraped: the slots follow each scrape closely then.
	Phase      func(service, environment, group string, interval time.Duration) time.Duration
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Policy is what the operator allows. What it refuses is an error with [gatekeeper.CodeRefused].
// Its methods may be called concurrently.
type Policy interface {
	// MayOpen says whether the client of that name ("": it needed none) may open releases of a service.
	MayOpen(client, service string) error

	// MayUse says whether releases of a service may have the rung. Names are what its action says
	// of its settings, see [actions.Named]; there are none when it says nothing.
	MayUse(service string, rung gatekeeper.Rung, names []string) error
}

// Freeze is a time in which no release may be opened: Schedule starts it, Duration ends it.
type Freeze struct {
	Name          string
	Schedule      string // cron, five fields or a descriptor such as @daily (robfig/cron/v3)
	Duration      time.Duration
	TimeZone      string           // IANA name; default UTC
	Services      gatekeeper.Globs // empty: every service
	HoldRollbacks bool             // hold rollbacks too, until a person approves
}
