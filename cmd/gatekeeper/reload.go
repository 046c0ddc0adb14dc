package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

// reloads is what reloading needs to know: the configuration that is in force, and how the last
// one went.
type reloads struct {
	mu         *sync.Mutex // one at a time
	now        *config.Config
	successful prometheus.Gauge
	at         prometheus.Gauge
	hangups    chan os.Signal
}

func newReloads(s settings, reg prometheus.Registerer) (reloads, error) {
	r := reloads{
		mu: &sync.Mutex{}, now: s.Config, hangups: make(chan os.Signal, 1),
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gatekeeper_config_last_reload_successful", Help: "Whether the last attempt to read the configuration succeeded: 1 or 0.",
		}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gatekeeper_config_last_reload_success_timestamp_seconds", Help: "When the configuration was read successfully the last time.",
		}),
	}
	r.successful.Set(1)
	r.at.Set(float64(time.Now().Unix()))
	signal.Notify(r.hangups, syscall.SIGHUP)
	return r, errors.Join(reg.Register(r.successful), reg.Register(r.at))
}

// reloadAt reloads at every SIGHUP until ctx ends.
func (d *daemon) reloadAt(ctx context.Context) {
	defer signal.Stop(d.reloads.hangups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.reloads.hangups:
			_ = d.reload(ctx, engine.By{Actor: "SIGHUP", Means: gatekeeper.MeansSignal}) // it is in the log and recorded
		}
	}
}

// reload reads the configuration again and has it in force as a whole, or changes nothing. Both
// are recorded, and said in the log and by the metric.
func (d *daemon) reload(ctx context.Context, by engine.By) error {
	d.reloads.mu.Lock()
	defer d.reloads.mu.Unlock()
	r := gatekeeper.AuditRecord{By: by, What: gatekeeper.Reloaded, Subject: d.reloads.now.Path, Before: gatekeeper.AuditState(inForce{Digest: d.reloads.now.Digest()})}
	err := d.replace(ctx, &r)
	if err != nil {
		d.reloads.successful.Set(0)
		d.log.Error("the configuration was not reloaded: nothing was changed", "actor", by.Actor, "err", err)
		if lost := d.engine.Audit(ctx, r.Refuse(unquoted(err))); lost != nil {
			d.log.Error("it can't be recorded that a reload was refused", "actor", by.Actor, "err", lost)
		}
		return err
	}
	d.reloads.successful.Set(1)
	d.reloads.at.Set(float64(time.Now().Unix()))
	d.log.Warn("the configuration was reloaded", "actor", by.Actor, "path", d.reloads.now.Path)
	return nil
}

// inForce is a configuration as audit records show it.
type inForce struct {
	Digest  string   `json:"digest"`            // SHA-256 of the file
	Changed []string `json:"changed,omitempty"` // keys, beside the configuration before; never their values
	More    int      `json:"more,omitempty"`    // keys that are left out
}

// maxChanged is how many changed keys an audit record names.
const maxChanged = 50

func inForceAfter(cfg, before *config.Config) inForce {
	changed := cfg.Changed(before)
	n := min(len(changed), maxChanged)
	return inForce{cfg.Digest(), changed[:n], len(changed) - n}
}

// unquoted is an error for the journal. What is wrong with a file quotes it, and somebody may have
// written a secret there: only the places are told.
func unquoted(err error) error {
	found, ok := errors.AsType[rules.Problems](err)
	if !ok {
		return err
	}
	places := make([]string, 0, len(found))
	for _, p := range found {
		places = append(places, fmt.Sprintf("%d:%d", p.Line, p.Column))
	}
	return fmt.Errorf("the file has %s, which the log tells: at line and column %s", counted(len(found), "problem"), strings.Join(places, ", "))
}

// replace checks everything before it changes anything. What it finds goes into the record.
func (d *daemon) replace(ctx context.Context, r *gatekeeper.AuditRecord) error {
	before := d.reloads.now
	if before.Path == "" {
		return gatekeeper.Errorf(gatekeeper.CodeRefused, "start the daemon with --config", "the daemon runs without a configuration file: there is nothing to reload")
	}
	cfg, err := config.Read(before.Path)
	if err != nil {
		return err
	}
	if cfg.Unread() { // every key would seem to have been left out
		r.After = gatekeeper.AuditState(inForce{Digest: cfg.Digest()})
		return cfg.Err()
	}
	r.After = gatekeeper.AuditState(inForceAfter(cfg, before))
	cfg.Keep(before)
	s, _ := decode(cfg, d.registry) // what is wrong is asked for with what keep adds
	d.keep(s)
	if err := cfg.Err(); err != nil {
		return err
	}
	tell, err := d.people.prepare(s.channels)
	if err != nil {
		return err
	}
	show, err := d.show(s)
	if err != nil {
		return err
	}
	backends, err := d.backends.prepare(s)
	if err != nil {
		show.end()
		return err
	}
	if err := d.engine.Reload(ctx, s.terms(backends.queriers()), *r); err != nil {
		show.end()
		return errors.Join(err, backends.drop())
	}
	d.turn(backends, tell, show)
	d.reloads.now = cfg
	return nil
}

// turn goes over to what was prepared: nothing of it can fail any more.
func (d *daemon) turn(backends *change, tell func(), show *shown) {
	tell()
	d.engine.TellAgain()
	d.face.turn(show)
	if err := backends.use(); err != nil {
		d.log.Error("a metric backend that is not needed any more did not end well", "err", err)
	}
}

// keep tells what [config.Config.Keep] can't see, being what files hold or what a backend's kind does not bear.
func (d *daemon) keep(s settings) {
	if s.web.TLS != d.web.TLS {
		s.At.Child("web_config_file").Wrong("restart the daemon with it, or put back what it was", "whether TLS is served can't be changed while the daemon runs")
	}
	for name := range s.prometheus {
		if known, ok := d.backends.named[name]; ok && known.embedded() {
			s.At.Child("backends").Child(name).Wrong("restart the daemon with it, or give it another name",
				"the embedded backend %q can't become one of another kind while the daemon runs: it alone evaluates recording rules of health files", name)
		}
	}
	for name, c := range s.tsdb {
		if known, ok := d.backends.named[name]; ok && known.changed(c) {
			s.At.Child("backends").Child(name).Wrong("restart the daemon with it, put back what it was, or give it another name and data_dir",
				"the embedded backend %q can't be changed while the daemon runs", name)
		}
	}
}

// terms is what the engine takes at a reload, too.
func (s settings) terms(backends map[string]rules.Querier) engine.Config {
	return engine.Config{
		Backends: backends, DefaultBackend: s.DefaultBackend,
		Connections: s.connections, Plans: plans(s.Plans), HealthFiles: healthFiles(s.HealthFiles), Policy: policy(s.Policy),
		DryRun: s.Guards.DryRun, DryRunServices: s.Guards.DryRunServices,
		Freezes: freezes(s.Guards.Freezes), CoolDown: time.Duration(s.Guards.CoolDown),
	}
}
