package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/engine"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
)

const (
	maxWhy   = 1000             // characters of a reason
	patience = 10 * time.Minute // how long a form may take that waits for actions
)

// offers is what a visitor can do about a release as it stands.
type offers struct {
	Approve, Veto, Resume, Hold, Rollback, Extend, Close bool

	Again bool // Rollback is of a closed release, by a new one
}

// Any says whether there is anything to do.
func (o offers) Any() bool {
	return o.Approve || o.Veto || o.Resume || o.Hold || o.Rollback || o.Extend || o.Close
}

// offered says what the page offers. It is for guidance: what is asked is judged by the scopes and
// by the engine all the same.
func offered(r gatekeeper.Release, v api.Visitor) offers {
	operates, opens := v.May(api.ScopeOperate), v.May(api.ScopeOpen)
	held, watching := r.State == gatekeeper.Holding, r.State == gatekeeper.Watching
	o := offers{
		Resume: held && operates, Hold: watching && operates,
		Extend: (held || watching) && (operates || opens),
		Close:  opens && (held || watching || r.State == gatekeeper.Waiting || r.State == gatekeeper.Preparing),
	}
	acts := len(r.Rungs) > 0 && !r.DryRun && !r.WatchOnly
	o.Approve, o.Veto = held && operates && acts, held && operates && r.Hold.Reason != gatekeeper.HoldPerson
	o.Again = r.Closed() && r.Outcome == gatekeeper.OutcomePassed
	o.Rollback = operates && acts && (watching || r.State == gatekeeper.Waiting || o.Again)
	return o
}

// verb is what a form asks of a release, and the scopes of which one is enough.
type verb struct {
	scopes []api.Scope
	ask    func(e Engine, ctx context.Context, id string, by engine.By) (gatekeeper.Release, error)
}

var verbs = map[string]verb{
	"approve":  {[]api.Scope{api.ScopeOperate}, Engine.Approve},
	"veto":     {[]api.Scope{api.ScopeOperate}, Engine.Veto},
	"hold":     {[]api.Scope{api.ScopeOperate}, Engine.Hold},
	"resume":   {[]api.Scope{api.ScopeOperate}, Engine.Resume},
	"rollback": {[]api.Scope{api.ScopeOperate}, Engine.Rollback},
	"close":    {[]api.Scope{api.ScopeOpen}, Engine.Close},
	"extend":   {[]api.Scope{api.ScopeOperate, api.ScopeOpen}, nil}, // takes a duration
}

// ask does what a form asks of a release and shows the release after it.
func (s *site) ask(v visit) {
	name := v.r.PathValue("verb")
	verb, ok := verbs[name]
	if !ok {
		s.refuse(v, gatekeeper.Errorf(gatekeeper.CodeNotFound, "", "there is nothing called %q to do with a release", name))
		return
	}
	if err := s.mayAsk(v, verb); err != nil {
		s.showRelease(v, api.ProblemOf(err))
		return
	}
	if _, _, err := s.find(v); err != nil {
		s.refuse(v, err)
		return
	}
	// The server's deadlines are for slow browsers; what was asked may wait for actions. A writer
	// without deadlines is a test's.
	rc := http.NewResponseController(v.w)
	_ = errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Now().Add(patience)))
	r, err := s.doAsk(v, name, verb)
	if err != nil {
		s.showRelease(v, api.ProblemOf(err))
		return
	}
	see(v.w, v.root+"releases/"+escape(r.ID))
}

func (s *site) doAsk(v visit, name string, verb verb) (gatekeeper.Release, error) {
	id, by := v.r.PathValue("id"), by(v)
	if name != "extend" {
		return verb.ask(s.Engine, v.r.Context(), id, by)
	}
	minutes, err := strconv.Atoi(v.r.PostFormValue("minutes"))
	if err != nil {
		return gatekeeper.Release{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "give whole minutes", "%q is no number of minutes: nothing was done", v.r.PostFormValue("minutes"))
	}
	return s.Engine.Extend(v.r.Context(), id, time.Duration(minutes)*time.Minute, by)
}

func (s *site) mayAsk(v visit, verb verb) error {
	for _, scope := range verb.scopes {
		if v.May(scope) {
			return nil
		}
	}
	return gatekeeper.Errorf(gatekeeper.CodeRefused, "ask the operator for the scope",
		"the token %s does not have the scope %s: nothing was done", v.Name(), verb.scopes[0])
}

// by names the visitor and the reason that was given.
func by(v visit) engine.By {
	why := []rune(v.r.PostFormValue("why"))
	return v.By(string(why[:min(len(why), maxWhy)]))
}

// turn turns the kill switch.
func (s *site) turn(v visit) {
	var err error
	var is engine.KillSwitch
	switch on := v.r.PostFormValue("on") == "true"; {
	case !v.May(api.ScopeOperate):
		err = gatekeeper.Errorf(gatekeeper.CodeRefused, "ask the operator for the scope", "the token %s does not have the scope operate: nothing was done", v.Name())
	case v.Confined():
		err = gatekeeper.Errorf(gatekeeper.CodeRefused, "ask the operator for a token without services",
			"the token %s is for some services only, and the kill switch concerns all of them: nothing was done", v.Name())
	default:
		is, err = s.Engine.SetKillSwitch(v.r.Context(), on, by(v))
	}
	switch {
	case err != nil:
		s.showSwitch(v, api.ProblemOf(err))
		return
	case is.Unrecorded != "":
		s.showSwitch(v, &api.Problem{Status: http.StatusOK, Detail: is.Unrecorded, Hint: "It is tried again until it is recorded."})
		return
	}
	see(v.w, v.root+"kill-switch")
}
