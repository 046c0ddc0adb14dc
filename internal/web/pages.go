package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/chart"
	"github.com/gatekeeper-engine/gatekeeper/internal/timeline"
)

const (
	maxOpen   = 200                    // open releases shown
	maxRecent = 20                     // closed ones
	maxLooked = 200                    // closed ones looked at for those
	freshness = 500 * time.Millisecond // for what rules said a moment ago
)

// listBody is the front page.
type listBody struct {
	Open   []standing
	More   bool // there are more open ones than are shown
	Recent []standing
}

func (s *site) list(v visit) {
	open, err := s.Engine.List(v.r.Context(), gatekeeper.Listing{Open: true, Limit: maxOpen})
	if err != nil {
		s.refuse(v, err)
		return
	}
	body := listBody{More: len(open) == maxOpen}
	ctx, stop := context.WithTimeout(v.r.Context(), freshness)
	defer stop()
	for _, r := range open {
		if v.Sees(r.Service) {
			body.Open = append(body.Open, stand(s.fresh(ctx, r)))
		}
	}
	slices.SortStableFunc(body.Open, func(a, b standing) int { return cmp.Compare(loudness[a.Tone], loudness[b.Tone]) })
	if body.Recent, err = s.recent(v); err != nil {
		s.refuse(v, err)
		return
	}
	p := page{Title: "Releases", URL: v.root, Events: v.root + "api/v1/events", Body: body}
	for _, one := range body.Open {
		if one.Tone == timeline.Bad || one.Tone == timeline.Warn {
			p.Says += one.Release.Service + " " + one.Release.Version + " is " + one.State + ". "
		}
	}
	s.show(v, http.StatusOK, "list", p)
}

// recent gives the newest closed releases that the visitor may know of.
func (s *site) recent(v visit) ([]standing, error) {
	var all []standing
	after := ""
	for range maxLooked / maxRecent {
		found, err := s.Engine.List(v.r.Context(), gatekeeper.Listing{Limit: maxRecent, After: after})
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			if r.Closed() && v.Sees(r.Service) && len(all) < maxRecent {
				all = append(all, stand(r))
			}
			after = r.ID
		}
		if len(found) < maxRecent || len(all) == maxRecent {
			break
		}
	}
	return all, nil
}

// unwritten gives what the rules of an open release said since its last facts, as facts that
// follow them. Where the release does not answer before ctx ends, what is in the journal must do.
func (s *site) unwritten(ctx context.Context, r gatekeeper.Release) []gatekeeper.Fact {
	if r.Closed() {
		return nil
	}
	judged, err := s.Engine.Unwritten(ctx, r.ID)
	if err != nil {
		s.Log.Debug("what rules said a moment ago is not shown", "release", r.ID, "err", err)
		return nil
	}
	var facts []gatekeeper.Fact
	for _, j := range judged {
		f := gatekeeper.Fact{Seq: r.Seq + 1, At: j.Reading.At, Body: j}
		next, err := r.With(f)
		if err != nil {
			return nil // it has moved on since it was read
		}
		r, facts = next, append(facts, f)
	}
	return facts
}

// fresh gives a release with what its rules said a moment ago.
func (s *site) fresh(ctx context.Context, r gatekeeper.Release) gatekeeper.Release {
	for _, f := range s.unwritten(ctx, r) {
		if next, err := r.With(f); err == nil {
			r = next
		}
	}
	return r
}

// find gives a release that the visitor may know of, with its facts up to this moment.
func (s *site) find(v visit) (gatekeeper.Release, []gatekeeper.Fact, error) {
	id := v.r.PathValue("id")
	facts, err := s.Engine.Facts(v.r.Context(), id)
	if err != nil {
		return gatekeeper.Release{}, nil, err
	}
	r, err := gatekeeper.Replay(id, facts)
	if err != nil {
		return r, nil, err
	}
	if !v.Sees(r.Service) {
		return gatekeeper.Release{}, nil, gatekeeper.Errorf(gatekeeper.CodeNotFound, "ask the operator for a token for its service, if it is there", "there is no release %q that you may see", id)
	}
	ctx, stop := context.WithTimeout(v.r.Context(), freshness)
	defer stop()
	facts = append(facts, s.unwritten(ctx, r)...)
	r, err = gatekeeper.Replay(id, facts)
	return r, facts, err
}

// releaseBody is the page of one release.
type releaseBody struct {
	standing
	Charts []charted
	Rungs  []step
	Lines  []timeline.Line // the newest first
	Times  string
	Offers offers
}

// charted is a rule with its picture.
type charted struct {
	verdict
	Stamp string // changes when the picture does
}

func (s *site) release(v visit) { s.showRelease(v, nil) }

// showRelease shows a release, and what went wrong with what was asked of it.
func (s *site) showRelease(v visit, problem *api.Problem) {
	r, facts, err := s.find(v)
	if err != nil {
		s.refuse(v, err)
		return
	}
	told, err := timeline.Tell(r.ID, facts)
	if err != nil {
		s.refuse(v, err)
		return
	}
	body := releaseBody{standing: stand(r), Rungs: ladder(r), Times: told.Times, Offers: offered(r, v.Visitor), Lines: told.Lines}
	slices.Reverse(body.Lines)
	for _, rule := range chart.Rules(facts) {
		one := charted{verdict: verdict{Rule: rule, Tone: timeline.Quiet}, Stamp: stamp(r, facts, rule)}
		if i := slices.IndexFunc(body.Rules, func(v verdict) bool { return v.Rule == rule }); i >= 0 {
			one.verdict = body.Rules[i]
		}
		body.Charts = append(body.Charts, one)
	}
	url := v.root + "releases/" + escape(r.ID)
	p := page{
		Title: r.Service + " " + r.Version + ": " + body.State, URL: url, Problem: problem, Body: body,
		Says: r.Service + " " + r.Version + " is " + body.State + ". " + body.Says,
	}
	if !r.Closed() {
		p.Events = v.root + "api/v1/releases/" + escape(r.ID) + "/events"
	}
	status := http.StatusOK
	if problem != nil {
		status = problem.Status
	}
	s.show(v, status, "release", p)
}

// stamp changes when a rule's picture does: with the release's state and with each slot.
func stamp(r gatekeeper.Release, facts []gatekeeper.Fact, rule string) string {
	n := len(gatekeeper.Trail(facts, rule, false)) + len(gatekeeper.Trail(facts, rule, true))
	return strconv.FormatInt(r.Seq, 10) + "." + strconv.Itoa(n)
}

func (s *site) killSwitch(v visit) { s.showSwitch(v, nil) }

// switchBody is the page of the kill switch.
type switchBody struct {
	Last *gatekeeper.AuditRecord // of its turns; nil: it is not known
}

func (s *site) showSwitch(v visit, problem *api.Problem) {
	ctx, stop := context.WithTimeout(v.r.Context(), freshness)
	defer stop()
	last, err := s.Engine.LastTurn(ctx)
	if err != nil { // the switch works all the same
		s.Log.Warn("who turned the kill switch last is not shown", "err", err)
	}
	status, p := http.StatusOK, page{Title: "Kill switch", URL: v.root + "kill-switch", Problem: problem, Body: switchBody{last}}
	if problem != nil {
		status = problem.Status
	}
	s.show(v, status, "kill-switch", p)
}

// loginBody is the page that asks for a token.
type loginBody struct {
	Release string // where the visitor wanted to; "": the front page
	To      string
}

func (s *site) askToken(w http.ResponseWriter, r *http.Request) {
	s.showLogin(visit{w: w, r: r, root: "./"}, nil)
}

func (s *site) showLogin(v visit, problem *api.Problem) {
	body := loginBody{Release: v.r.FormValue("release"), To: v.root}
	if body.Release != "" {
		body.To += "releases/" + escape(body.Release)
	}
	if !s.door.Needed() {
		see(v.w, body.To)
		return
	}
	status := http.StatusOK
	if problem != nil {
		status = problem.Status
	}
	s.show(v, status, "login", page{Title: "Log in", Problem: problem, Body: body})
}

func (s *site) login(w http.ResponseWriter, r *http.Request) {
	v := visit{w: w, r: r, root: "./"}
	err := s.door.Login(w, r, r.PostFormValue("token"))
	if p, ok := errors.AsType[*api.Problem](err); ok {
		s.showLogin(v, p)
		return
	}
	to := v.root
	if id := r.PostFormValue("release"); id != "" {
		to += "releases/" + escape(id)
	}
	see(w, to)
}

func (s *site) logout(v visit) {
	s.door.Logout(v.w, v.r, v.Visitor)
	see(v.w, v.root+"login")
}
