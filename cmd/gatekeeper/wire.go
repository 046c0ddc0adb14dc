package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/alertmanager"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
	"github.com/gatekeeper-engine/gatekeeper/internal/flags"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	prometheusapi "github.com/gatekeeper-engine/gatekeeper/internal/prometheus"
	"github.com/gatekeeper-engine/gatekeeper/internal/retention"
	"github.com/gatekeeper-engine/gatekeeper/internal/systemd"
	"github.com/gatekeeper-engine/gatekeeper/internal/tracing"
	"github.com/gatekeeper-engine/gatekeeper/internal/tsdb"
	"github.com/gatekeeper-engine/gatekeeper/internal/web"
	"github.com/gatekeeper-engine/gatekeeper/internal/webconfig"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/webhooks"
)

// startTimeout is how long the store may take to answer; it replays its log first.
const startTimeout = 2 * time.Minute

// settings are the configuration's sections, decoded by those they belong to.
type settings struct {
	*config.Config
	prometheus  map[string]prometheusapi.Config
	tsdb        map[string]tsdb.Config
	external    *etcd.ExternalConfig // nil: the store is embedded
	retention   time.Duration        // of releases; 0: for ever
	channels    channels
	tracing     *httpclient.Config // nil: no traces
	web         webconfig.File
	tokens      []api.Token
	connections map[string]actions.Connection
}

// decode reads every section; what is wrong with any of them is told at once.
func decode(cfg *config.Config, registry *actions.Registry) (settings, error) {
	web := readWebConfig(cfg)
	s := settings{
		Config: cfg, web: web, prometheus: map[string]prometheusapi.Config{}, tsdb: map[string]tsdb.Config{},
		connections: map[string]actions.Connection{},
		channels:    channels{alertmanagers: alertmanager.Config{ExternalURL: cfg.ExternalURL}},
	}
	for name, b := range cfg.Backends {
		if b.Prometheus != nil {
			var c prometheusapi.Config
			b.Prometheus.Decode(&c)
			s.prometheus[name] = c
		}
		if b.TSDB != nil {
			c := tsdb.Config{Path: filepath.Join(cfg.DataDir, "metrics", name)}
			b.TSDB.Decode(&c)
			b.At.Check(c.CheckRules())
			s.tsdb[name] = c
		}
	}
	stored := storeConfig{Retention: model.Duration(defaultRetention)}
	if cfg.Store != nil {
		cfg.Store.Decode(&stored)
	}
	s.external, s.retention = stored.external(), time.Duration(stored.Retention)
	if cfg.Tracing != nil {
		s.tracing = &httpclient.Config{}
		cfg.Tracing.Decode(s.tracing)
	}
	for _, section := range cfg.Alertmanagers {
		var c httpclient.Config
		section.Decode(&c)
		s.channels.alertmanagers.Alertmanagers = append(s.channels.alertmanagers.Alertmanagers, c)
	}
	s.channels.decode(cfg.Notifications)
	for name, c := range cfg.Connections {
		connection := actions.Connection{Name: name, Kind: c.Kind, Settings: c.Settings}
		c.At.Check(registry.CheckConnection(connection))
		s.connections[name] = connection
	}
	for name, plan := range cfg.Plans {
		for i, rung := range plan {
			at := cfg.At.Child("plans").Child(name).Child(strconv.Itoa(i))
			at.Check(s.checkRung(rung, registry))
		}
	}
	for _, t := range cfg.Tokens {
		token, err := readToken(t)
		t.At.Check(err)
		s.tokens = append(s.tokens, token)
	}
	return s, cfg.Err()
}

// checkRung says whether a rung of the operator's plans names an action and a connection for it.
func (s settings) checkRung(rung rules.RungSpec, registry *actions.Registry) error {
	c, ok := s.connections[rung.Connection]
	if !ok && rung.Connection != "" {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "add it to connections", "there is no connection %q for %s", rung.Connection, rung.Action)
	}
	return registry.Check(rung.Action, actions.Binding{Connection: c, ReturnTo: rung.ReturnTo})
}

// daemon is everything that runs.
type daemon struct {
	log      *slog.Logger
	registry *actions.Registry
	web      webconfig.File
	store    store
	flags    *flags.Store
	keeper   *retention.Keeper
	engine   *engine.Engine
	hooks    *webhooks.Webhooks
	people   *people
	pictures *web.Pictures
	tracer   *tracing.Tracer // nil: no traces
	backends *backends
	manager  systemd.Manager
	face     face
	outside  api.Config // what the face is made of, without what a reload replaces
	reloads  reloads

	closers []func() error // in the order of opening
}

// serve runs the daemon until ctx ends.
func serve(ctx context.Context, cfg *config.Config, stderr io.Writer) error {
	log := newLog(cfg.Log, stderr)
	d, l, err := start(ctx, cfg, log)
	if err != nil {
		return err
	}
	log.Info("serving", "address", l.Addr().String(), "data_dir", cfg.DataDir, "version", version())
	return errors.Join(d.run(ctx, l), d.close())
}

// start puts the daemon together. It listens, and runs and answers from [daemon.run] on.
func start(ctx context.Context, cfg *config.Config, log *slog.Logger) (*daemon, net.Listener, error) {
	registry, err := builtin.Registry(nil)
	if err != nil {
		return nil, nil, err
	}
	s, err := decode(cfg, registry)
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, nil, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "is another daemon running? choose another port with listen:", "nothing was started: %w", err)
	}
	manager, err := systemd.FromEnvironment(os.Getenv)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	d := &daemon{log: log, web: s.web, manager: manager}
	if err := d.open(ctx, s); err != nil {
		return nil, nil, errors.Join(err, d.close(), l.Close())
	}
	return d, l, nil
}

func newLog(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // the configuration was checked before
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// embedded gives the log of a store that runs in the process: what it says of its daily work
// would bury what happens to releases.
func embedded(log *slog.Logger) *slog.Logger { return slog.New(warnings{log.Handler()}) }

// warnings passes warnings and errors on, and everything where the log is for debugging.
type warnings struct{ slog.Handler }

// Enabled says whether a record of that level is passed on.
func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level) || w.Handler.Enabled(ctx, slog.LevelDebug)
}

// WithAttrs keeps the filter.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the filter.
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }

// open puts the daemon together, from the store up to the face.
func (d *daemon) open(ctx context.Context, s settings) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	starting, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	var err error
	if d.store, err = openStore(starting, s, d.log); err != nil {
		return err
	}
	d.closers = append(d.closers, d.store.Close)
	journal, err := d.store.OpenJournal(starting)
	if err != nil {
		return err
	}
	measure(reg, d.store)
	d.keeper = retention.NewKeeper(journal, s.retention, d.log, reg)
	if d.flags, err = flags.Open(starting, d.store.Client(), journal, d.log); err != nil {
		return err
	}
	d.closers = append(d.closers, func() error { d.flags.Close(); return nil })
	if d.registry, err = builtin.Registry(d.flags.Serving()); err != nil {
		return err
	}
	d.backends = newBackends(d.log)
	backends, err := d.backends.prepare(s)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, d.backends.close)
	if err := backends.use(); err != nil {
		return err
	}
	d.pictures = web.NewPictures(d.pictureKey(starting), s.ExternalURL, journal)
	return d.assemble(s, reg, journal, backends.queriers())
}

// assemble connects the engine with what it drives and with those who drive it.
func (d *daemon) assemble(s settings, reg *prometheus.Registry, journal gatekeeper.Journal, backends map[string]rules.Querier) error {
	var err error
	if d.people, err = s.channels.open(d.pictures, d.log, reg); err != nil {
		return err
	}
	if s.tracing != nil {
		if d.tracer, err = tracing.New(*s.tracing, version(), d.facts, d.log, reg); err != nil {
			return err
		}
	}
	terms := s.terms(backends)
	terms.Journal, terms.Actions, terms.Tell, terms.KillSwitchFile = journal, d.registry, d.tell, s.Guards.KillSwitchFile
	terms.QueryTimeout, terms.ActionTimeout = time.Duration(s.QueryTimeout), time.Duration(s.ActionTimeout)
	terms.Log, terms.Registerer = d.log, reg
	if d.engine, err = engine.New(terms); err != nil {
		return err
	}
	if d.hooks, err = webhooks.New(webhooks.Config{Deliver: d.deliver, Log: d.log, Registerer: reg}); err != nil {
		return err
	}
	d.outside = api.Config{
		Engine: ready{d.engine, d.store}, Actions: describe(d.registry), Version: version(), Reload: d.reload,
		Alerts: d.hooks.Prometheus(), Webhooks: map[string]http.Handler{"alertmanager": d.hooks.Alertmanager()},
		Store: kept{d.store, d.keeper}, Flags: flagStore{d.flags}, OFREP: flags.Handler(d.flags),
		Metrics: promhttp.HandlerFor(prometheus.Gatherers{reg, d.backends}, promhttp.HandlerOpts{Registry: reg}),
		Log:     d.log,
	}
	pages, err := web.New(web.Config{Engine: d.engine, Pictures: d.pictures, Log: d.log})
	if err != nil {
		return err
	}
	d.outside.Pages, d.outside.Sessions = pages.Pages, api.NewSessions()
	if d.reloads, err = newReloads(s, reg); err != nil {
		return err
	}
	show, err := d.show(s)
	if err == nil {
		d.face.turn(show)
	}
	return err
}

// tell has a fact told to people and traced.
func (d *daemon) tell(r gatekeeper.Release, f gatekeeper.Fact) {
	d.people.Tell(r, f)
	if d.tracer != nil {
		d.tracer.Tell(r, f)
	}
}

func (d *daemon) facts(ctx context.Context, release string) ([]gatekeeper.Fact, error) {
	return d.engine.Facts(ctx, release)
}

// deliver hands alerts of webhooks to the engine; who sent them is the client, where one is known.
func (d *daemon) deliver(ctx context.Context, sender string, alerts []gatekeeper.Alert) (matched, dropped int, err error) {
	r, err := d.engine.Receive(ctx, sender, cmp.Or(api.Caller(ctx), sender), alerts)
	return r.Matched, r.Dropped, err
}

// ready is an engine that is ready only while its store takes writes.
type ready struct {
	*engine.Engine
	store store
}

// Ready says whether releases are run and can be recorded: nil, or why not.
func (r ready) Ready() error {
	if err := r.store.Ready(); err != nil {
		return err
	}
	return r.Engine.Ready()
}

// flagStore is the flag store as the API names things; both have the same fields.
type flagStore struct{ *flags.Store }

// List gives every flag, sorted by key.
func (s flagStore) List() []api.Flag {
	all := s.Store.List()
	out := make([]api.Flag, len(all))
	for i, f := range all {
		out[i] = api.Flag(f)
	}
	return out
}

// Get gives a flag as the store has it now.
func (s flagStore) Get(ctx context.Context, key string) (api.Flag, error) {
	f, err := s.Store.Get(ctx, key)
	return api.Flag(f), err
}

// Put stores a flag if its version still is f.Version.
func (s flagStore) Put(ctx context.Context, f api.Flag, by gatekeeper.By) (api.Flag, error) {
	stored, err := s.Store.Put(ctx, flags.Flag(f), by)
	return api.Flag(stored), err
}

// close closes what was opened, the last first.
func (d *daemon) close() error {
	var errs []error
	for _, c := range slices.Backward(d.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// policy gives the engine no policy where the operator wrote none.
func policy(p *config.Policy) engine.Policy {
	if p == nil {
		return nil
	}
	return p
}

func plans(all map[string]config.Plan) map[string][]rules.RungSpec {
	out := make(map[string][]rules.RungSpec, len(all))
	for name, p := range all {
		out[name] = p
	}
	return out
}

func freezes(all []config.Freeze) []engine.Freeze {
	out := make([]engine.Freeze, len(all))
	for i, f := range all {
		out[i] = engine.Freeze{
			Name: f.Name, Schedule: f.Schedule, Duration: time.Duration(f.Duration), TimeZone: f.TimeZone,
			Services: f.Services, HoldRollbacks: f.HoldRollbacks,
		}
	}
	return out
}

// healthFiles reads health files by their names from the operator's folder.
func healthFiles(dir string) func(string) (rules.Bundle, error) {
	return func(name string) (rules.Bundle, error) {
		switch {
		case dir == "":
			return rules.Bundle{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "send the health file with the release, or configure health_files",
				"the daemon has no folder of health files, so %q can't be found", name)
		case !filepath.IsLocal(name):
			return rules.Bundle{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "name a file below the daemon's health_files", "the health file name %q leaves the folder", name)
		}
		b, err := rules.ReadBundle(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return rules.Bundle{}, gatekeeper.Errorf(gatekeeper.CodeNotFound, "ask the operator for it, or send the health file with the release", "there is no health file %q in the daemon's folder", name)
		}
		return b, err
	}
}
