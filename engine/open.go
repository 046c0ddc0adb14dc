package engine

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
)

const (
	maxName   = 200 // bytes of a service, environment, version or label value
	maxLabels = 30

	noTrace = "-00000000000000000000000000000000-" // of a traceparent
	noSpan  = "-0000000000000000-"
)

var (
	idForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	spanForm  = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
	labelForm = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,99}$`)
)

// Open opens a release and returns when it is prepared: what the rungs return to is pinned, so
// the pipeline can deploy. The same id, or the same version of a service and environment again,
// attaches to what is open. Another version supersedes what has not been decided. While a rollback is
// under way every version is refused with [gatekeeper.CodeConflict]: nobody should deploy into it.
func (e *Engine) Open(ctx context.Context, req OpenRequest) (gatekeeper.Release, error) {
	if err := e.Ready(); err != nil {
		return gatekeeper.Release{}, err
	}
	file, content, err := e.load(&req)
	if err != nil {
		return gatekeeper.Release{}, err
	}
	u, err := e.admit(ctx, req, file, content)
	if err != nil {
		return gatekeeper.Release{}, err
	}
	r, err := e.prepared(ctx, u)
	if err == nil {
		err = u.signOpened(ctx, req.Actor)
	}
	if err != nil || r.State != gatekeeper.Waiting || !req.Deployed {
		return r, err
	}
	return e.Deployed(ctx, r.ID, By{Actor: req.Actor})
}

// load reads the request's health file and puts the file's values where the request has none.
func (e *Engine) load(req *OpenRequest) (*rules.File, []byte, error) {
	if req.Bundle == nil {
		if req.HealthFile == "" {
			return nil, nil, invalid("send a health file, or name one in the operator's folder", "the request has no health file: without rules a release can't be judged")
		}
		bundle, err := e.terms.Load().HealthFiles(req.HealthFile)
		if err != nil {
			return nil, nil, err
		}
		req.Bundle = &bundle
	}
	content := req.Bundle.Encode()
	if len(content) > e.cfg.MaxBundle {
		return nil, nil, invalid("split it, or leave out what the release does not need", "the health file with its rule files has %d bytes, the limit is %d", len(content), e.cfg.MaxBundle)
	}
	file, err := rules.Load(*req.Bundle)
	if err != nil {
		return nil, nil, &gatekeeper.Error{Code: gatekeeper.CodeInvalid, Message: err.Error(), Hint: "try it with: gatekeeper check " + req.Bundle.Name, Err: err}
	}
	if err := fill(&req.Service, file.Service, "service"); err != nil {
		return nil, nil, err
	}
	if err := fill(&req.Environment, file.Environment, "environment"); err != nil {
		return nil, nil, err
	}
	if req.Environment == "" {
		req.Environment = "default"
	}
	return file, content, req.check()
}

func fill(value *string, file, what string) error {
	switch {
	case *value == "":
		*value = file
	case file != "" && file != *value:
		return invalid("use the health file of that "+what, "the release is of %s %q, but its health file is for %q", what, *value, file)
	}
	return nil
}

func invalid(hint, format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, format, args...)
}

func (req *OpenRequest) check() error {
	named := map[string]string{"service": req.Service, "version": req.Version}
	for _, what := range []string{"service", "version"} {
		if named[what] == "" {
			return invalid("name it in the request"+map[string]string{"service": " or in the health file"}[what], "the release has no %s", what)
		}
	}
	named["environment"], named["previous version"] = req.Environment, req.PreviousVersion
	for name, value := range req.Labels {
		if !labelForm.MatchString(name) {
			return invalid("use letters, digits and _", "the label name %q is not one", name)
		}
		named["label "+name] = value
	}
	if len(req.Labels) > maxLabels {
		return invalid("send fewer", "%d labels, at most %d are taken", len(req.Labels), maxLabels)
	}
	for what, value := range named {
		if len(value) > maxName {
			return invalid("shorten it", "the %s has %d bytes, at most %d are taken", what, len(value), maxName)
		}
		for _, c := range value {
			if unicode.IsControl(c) || c == unicode.ReplacementChar {
				return invalid("remove it", "the %s holds a control character", what)
			}
		}
	}
	if req.ID != "" && !idForm.MatchString(req.ID) {
		return invalid("use letters, digits, '.', '_' and '-', at most 100", "the id %q can't be used", req.ID)
	}
	if req.Window < 0 || req.Window > 7*24*time.Hour {
		return invalid("choose a window of up to 7 days", "a window of %s", req.Window)
	}
	if req.Heartbeat != 0 && (req.Heartbeat < minHeartbeat || req.Heartbeat > maxHeartbeat) {
		return invalid("choose between "+minHeartbeat.String()+" and "+maxHeartbeat.String(), "a heartbeat every %s", req.Heartbeat)
	}
	if req.Version == req.PreviousVersion {
		return invalid("name the version that runs now as previous_version, or leave it out", "version and previous version are both %q", req.Version)
	}
	return nil
}

// admit decides under one lock which release the request is about: one that is open already, or a
// new one, whose Opened it makes durable.
func (e *Engine) admit(ctx context.Context, req OpenRequest, file *rules.File, content []byte) (*run, error) {
	e.opens.Lock()
	defer e.opens.Unlock()
	if err := e.mayOpen(req); err != nil {
		return nil, err
	}
	hash := req.hash()
	if req.ID != "" {
		if u, err := e.sameID(ctx, req.ID, hash); u != nil || err != nil {
			return u, err
		}
	}
	for {
		u, err := e.attachOrBegin(ctx, req, hash, file, content)
		if !errors.Is(err, errRunOver) {
			return u, err
		}
		// the open release ended by itself meanwhile: perhaps it passed, and is what to return to
	}
}

func (e *Engine) attachOrBegin(ctx context.Context, req OpenRequest, hash string, file *rules.File, content []byte) (*run, error) {
	old := e.openOf(req.Service, req.Environment)
	if e.ctx.Err() != nil { // what is open is not known any more
		return nil, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "send the request again; it is safe with the same id", "the release is not open: Gatekeeper stops")
	}
	if old != nil && old.subject.Version == req.Version && old.purpose != gatekeeper.PurposeRollback {
		return old, nil
	}
	now := time.Now()
	if f, until, ok := e.frozen(req.Service, now, false); ok {
		return nil, gatekeeper.Errorf(gatekeeper.CodeRefused, "wait, or ask the operator to lift it", "freeze %q: no release of %s may be opened until %s", f.Name, req.Service, until.UTC().Format(time.RFC3339))
	}
	id := req.ID
	if id == "" {
		id = rand.Text()
	}
	opened, err := e.opened(req, id, file, old)
	if err != nil {
		return nil, err
	}
	if opened.File, err = e.cfg.Journal.PutFile(ctx, content); err != nil {
		return nil, unavailable(err)
	}
	opened.Request = hash
	return e.begin(ctx, id, req.Actor, file, opened, old)
}

func unavailable(err error) error {
	return &gatekeeper.Error{Code: gatekeeper.CodeUnavailable, Message: "the release is not open: the journal can't be written: " + err.Error(), Hint: "send the request again; it is safe with the same id", Err: err}
}

func (e *Engine) sameID(ctx context.Context, id, hash string) (*run, error) {
	r, err := e.Release(ctx, id)
	if gatekeeper.CodeOf(err) == gatekeeper.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(err)
	}
	if r.Request != hash {
		return nil, gatekeeper.Errorf(gatekeeper.CodeConflict, "use another id for another request", "release %q was opened by a different request", id)
	}
	if err := e.adopt(ctx, id); err != nil {
		return nil, unavailable(err)
	}
	if u, ok := e.find(id); ok {
		return u, nil
	}
	return e.runEnded(r), nil
}

// runEnded stands for a release that is closed.
func (e *Engine) runEnded(r gatekeeper.Release) *run {
	u := &run{e: e, id: r.ID, r: r, done: make(chan struct{})}
	close(u.done)
	return u
}

func (e *Engine) openOf(service, environment string) *run {
	for _, u := range e.open() {
		if u.subject.Service == service && u.subject.Environment == environment {
			return u
		}
	}
	return nil
}

// hash is of everything that the client asked for but the id, whoever it was.
func (req OpenRequest) hash() string {
	req.ID, req.Actor, req.Token, req.Services = "", "", "", nil
	data, err := json.Marshal(req)
	if err != nil {
		panic(err) // strings, maps of strings and numbers
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// opened pins everything the release is made of, and proves that it can be bound and its plan opened.
func (e *Engine) opened(req OpenRequest, id string, file *rules.File, old *run) (gatekeeper.Opened, error) {
	o := gatekeeper.Opened{
		Service: req.Service, Environment: req.Environment, Version: req.Version, PreviousVersion: req.PreviousVersion,
		Labels: maps.Clone(req.Labels), Purpose: gatekeeper.PurposeDeploy,
		WatchOnly: req.WatchOnly, DryRun: req.DryRun || file.DryRun || e.dryRun(req.Service),
		Window: gatekeeper.Duration(file.Window), StartWithin: gatekeeper.Duration(file.StartWithin), HoldFor: gatekeeper.Duration(file.HoldFor),
		Heartbeat: gatekeeper.Duration(req.Heartbeat), AfterDeploy: req.AfterDeploy,
		TraceParent: traceParent(req.TraceParent),
	}
	if req.Window > 0 {
		o.Window = gatekeeper.Duration(req.Window)
	}
	if old != nil {
		o.Supersedes = old.id
	}
	if o.PreviousVersion == "" {
		o.PreviousVersion = e.previousVersion(req, old)
	}
	plan := file.Rollback
	if req.Plan != "" {
		named, ok := e.terms.Load().Plans[req.Plan]
		if !ok {
			return o, invalid("name one of the plans in the daemon's configuration", "there is no rollback plan %q", req.Plan)
		}
		if len(plan) > 0 {
			return o, invalid("leave one of them out", "the request names the plan %q, and the health file has one of its own", req.Plan)
		}
		plan = named
	}
	if len(plan) == 0 && !req.WatchOnly {
		return o, invalid("add a rollback section, name a plan of the operator's (--plan), or ask only to watch (--watch-only)", "the release has no rollback plan: nothing could be rolled back")
	}
	for i, spec := range plan {
		if spec.ReturnTo == rules.Previous && !req.AfterDeploy {
			return o, invalid("leave return_to out: what is live at open is returned to; or open after the deploy and say so (--after-deploy)",
				"rung %d of the rollback plan (%s) returns to the revision before the live one, but the new version is not there yet", i+1, spec.Action)
		}
		rung := gatekeeper.Rung{
			Action: spec.Action, Connection: spec.Connection, Settings: spec.With, ReturnTo: spec.ReturnTo,
			RecoverWithin: gatekeeper.Duration(spec.RecoverWithin), ChangedByOther: spec.ChangedByOther,
		}
		action, safety, err := e.openRung(gatekeeper.Release{ID: id, Opened: o}, rung)
		if err == nil {
			err = e.mayUse(o.Service, rung, action)
		}
		if err != nil {
			return o, &gatekeeper.Error{Code: gatekeeper.CodeOf(err), Message: fmt.Sprintf("rung %d of the rollback plan (%s): %s", i+1, spec.Action, err), Hint: gatekeeper.HintOf(err), Err: err}
		}
		rung.Safety = safety
		o.Rungs = append(o.Rungs, rung)
	}
	_, err := file.Bind(vars(o, o.Version))
	if err == nil {
		_, _, err = e.backend(file) // which can evaluate its recording rules
	}
	return o, err
}

// traceParent gives the header of a span that can be a parent, or "".
func traceParent(header string) string {
	if !spanForm.MatchString(header) || strings.HasPrefix(header, "ff") || strings.Contains(header, noTrace) || strings.Contains(header, noSpan) {
		return ""
	}
	return header
}

func (e *Engine) dryRun(service string) bool {
	t := e.terms.Load()
	return t.DryRun || t.DryRunServices.Match(service)
}

// previousVersion is what the superseded release would have returned to, for it never passed, or
// else what passed last.
func (e *Engine) previousVersion(req OpenRequest, old *run) string {
	if old != nil {
		return old.previous
	}
	if last := e.history.passed(req.Service, req.Environment); last != req.Version {
		return last
	}
	return ""
}

// begin makes the release durable and runs it; a superseded one is closed in the same commit.
func (e *Engine) begin(ctx context.Context, id, actor string, file *rules.File, o gatekeeper.Opened, old *run) (*run, error) {
	fact := gatekeeper.Fact{Seq: 1, At: time.Now().UTC(), Actor: actor, Body: o}
	r, err := gatekeeper.Release{ID: id}.With(fact)
	if err != nil {
		return nil, err
	}
	u, err := e.runOf(r, file)
	if err != nil {
		return nil, err
	}
	entry := gatekeeper.Entry{Release: id, Facts: []gatekeeper.Fact{fact}}
	if old == nil {
		err = e.commit(ctx, entry)
	} else {
		err = old.do(ctx, func() error { return old.supersede(id, o.Version, actor, entry) })
	}
	switch {
	case errors.Is(err, errRunOver):
		return nil, err
	case errors.Is(err, gatekeeper.ErrConflict):
		return nil, gatekeeper.Errorf(gatekeeper.CodeConflict, "ask for it with: gatekeeper release show "+id, "release %q is there already", id)
	case gatekeeper.CodeOf(err) == gatekeeper.CodeConflict:
		return nil, err
	case err != nil:
		e.beside(func() { e.settle(r) })
		return nil, unavailable(err)
	}
	u.seen(r, fact)
	e.start(u)
	return u, nil
}

// supersede closes this release in favour of another and opens that in the same commit.
func (u *run) supersede(id, version, actor string, opening gatekeeper.Entry) error {
	switch u.r.State {
	case gatekeeper.Waiting, gatekeeper.Watching, gatekeeper.Holding:
	default:
		return gatekeeper.Errorf(gatekeeper.CodeConflict, "wait until it is over: gatekeeper release wait "+u.id,
			"release %s of version %s is %s: version %s can't be opened now", u.id, u.r.Version, u.r.State, version)
	}
	closed := gatekeeper.Closed{Outcome: gatekeeper.OutcomeSuperseded, Why: fmt.Sprintf("superseded by version %s (release %s)", version, id)}
	if err := u.recordAhead([]gatekeeper.Body{closed}); err != nil {
		return err
	}
	next, entry, err := u.draft(actor, time.Now(), closed)
	if err != nil {
		return err
	}
	if err := u.e.commit(u.ctx, entry, opening); err != nil {
		u.reread(err)
		return err
	}
	u.took(next, entry.Facts)
	return nil
}

// prepared waits until the release left preparing.
func (e *Engine) prepared(ctx context.Context, u *run) (gatekeeper.Release, error) {
	if u.ready != nil {
		select {
		case <-u.ready:
		case <-u.done:
		case <-ctx.Done():
			return gatekeeper.Release{}, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "ask again with the same id", "release %s is still being prepared: %w", u.id, ctx.Err())
		}
	}
	facts, err := e.Facts(ctx, u.id)
	if err != nil {
		return gatekeeper.Release{}, unavailable(err)
	}
	r, err := gatekeeper.Replay(u.id, facts)
	if err == nil && r.State == gatekeeper.Preparing {
		return r, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "don't deploy yet; ask again with the same id", "release %s is not prepared: Gatekeeper stops", u.id)
	}
	refused := !slices.ContainsFunc(facts, func(f gatekeeper.Fact) bool { return f.Body.Kind() == gatekeeper.KindPrepared })
	if err == nil && r.Closed() && refused {
		return r, gatekeeper.Errorf(gatekeeper.CodeRefused, "mend what it names and open again, or open with --watch-only", "release %s was refused: %s", r.ID, r.Why)
	}
	if err == nil && (r.State == gatekeeper.Applying || r.State == gatekeeper.Verifying) {
		return r, gatekeeper.Errorf(gatekeeper.CodeConflict, "do not deploy it; follow it with: gatekeeper release wait "+r.ID,
			"version %s is being rolled back (release %s is %s)", r.Version, r.ID, r.State)
	}
	return r, err
}

// sameRung says whether two rungs do the same thing.
func sameRung(a, b gatekeeper.Rung) bool {
	return a.Action == b.Action && a.Connection == b.Connection && a.ReturnTo == b.ReturnTo && sameJSON(a.Settings, b.Settings)
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
