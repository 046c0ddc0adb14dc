package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/signature"
)

// SenderGeneric is the sender of signed requests in counters.
const SenderGeneric = "generic"

// Caps on a signed request.
const (
	maxCall   = 64 << 10         // bytes
	maxName   = 200              // characters of a name
	maxID     = 100              // characters of an id or actor
	maxReason = 1000             // characters
	callTime  = 10 * time.Minute // for actions to prepare
)

// Action is what a signed request asks for. What is for people, such as approving, is not among
// them: it takes a token.
type Action string

// The actions of signed requests, as the calls of the API.
const (
	ActionOpen      Action = "open"
	ActionDeployed  Action = "deployed"
	ActionHeartbeat Action = "heartbeat"
	ActionExtend    Action = "extend"
	ActionMark      Action = "mark-irreversible"
	ActionClose     Action = "close"
)

// Call is a signed request whose sender is known.
type Call struct {
	Action Action
	ID     string        // the sender's own for the release; never empty
	Actor  string        // the sender, with whom it says it acts for
	Why    string        // may be empty
	By     time.Duration // of ActionExtend; above zero
	Open   Opening       // of ActionOpen
}

// Opening is what a release is opened with; the meanings are those of the API's call.
type Opening struct {
	Service         string              `json:"service"`
	Environment     string              `json:"environment"`
	Version         string              `json:"version"`
	PreviousVersion string              `json:"previous_version"`
	Labels          map[string]string   `json:"labels"`
	HealthFile      string              `json:"health_file"` // the name of one in the operator's folder
	Plan            string              `json:"plan"`
	Window          gatekeeper.Duration `json:"window"`
	WatchOnly       bool                `json:"watch_only"`
	DryRun          bool                `json:"dry_run"`
	AfterDeploy     bool                `json:"after_deploy"`
	Deployed        bool                `json:"deployed"`
	Heartbeat       gatekeeper.Duration `json:"heartbeat"`
}

// Do does what a call asks for and gives the release after it.
type Do func(ctx context.Context, c Call) (gatekeeper.Release, error)

// Generic takes signed requests of one sender, for systems that can only post, at
// POST /webhooks/generic/NAME. The signature (package signature) stands for a token: secret is
// asked for it with every request. A request that was done is not done again while its signature
// is fresh enough to be replayed; sent again it is answered 200 and "repeated".
//
// A 4xx says that the same request can't help, 503 that it may be sent again. Every handler of a name
// knows what the others of it have done.
func (w *Webhooks) Generic(name string, secret func() (string, error), do Do) http.Handler {
	g := &generic{webhooks: w, name: name, secret: secret, do: do, replays: w.replaysOf(name)}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p := g.take(rw, r)
		if p == nil {
			return
		}
		w.counters.refusals.WithLabelValues(SenderGeneric, p.reason).Inc()
		w.log.Warn("a signed request was refused", "sender", name, "status", p.Status, "reason", p.reason, "detail", p.Detail)
		p.write(rw)
	})
}

type generic struct {
	webhooks *Webhooks
	name     string
	secret   func() (string, error)
	do       Do
	replays  *replays
}

func (g *generic) take(rw http.ResponseWriter, r *http.Request) *problem {
	body, p := read(rw, r, limit{bytes: maxCall, post: "signed requests are sent by POST", large: "name a health file of the daemon's folder instead of sending more"})
	if p != nil {
		return p
	}
	secret, err := g.secret()
	if err != nil {
		g.webhooks.log.Error("a signed request can't be checked", "sender", g.name, "err", err)
		return &problem{Status: http.StatusServiceUnavailable, reason: "secret", Detail: "the daemon can't read the secret of this sender now: send the request again"}
	}
	now := time.Now()
	if err := signature.Verify(r.Header, secret, now, body); err != nil {
		return &problem{Status: http.StatusUnauthorized, reason: "signature", Detail: err.Error(), Hint: gatekeeper.HintOf(err)}
	}
	c, err := decodeCall(g.name, body)
	if err != nil {
		return &problem{Status: http.StatusBadRequest, reason: "malformed", Detail: err.Error() + "; nothing was done", Hint: gatekeeper.HintOf(err)}
	}
	mark := strings.ToLower(r.Header.Get(signature.HeaderSignature)) // hexadecimal may be written in two ways
	switch g.replays.begin(mark, now) {
	case replayDone:
		answer(rw, http.StatusOK, "application/json", called{Release: c.ID, Repeated: true})
		return nil
	case replayBusy:
		return &problem{Status: http.StatusServiceUnavailable, reason: "busy", Detail: "the same request is being done, or too many were done a moment ago: send it again later"}
	case replayNew:
	}
	done := false
	defer func() { g.replays.end(mark, done, time.Now()) }()
	if p := patient(rw); p != nil {
		return p
	}
	release, err := g.do(r.Context(), c)
	if err != nil {
		return g.failed(c, err)
	}
	done = true
	g.webhooks.log.Info("a signed request was done", "sender", g.name, "action", c.Action, "release", release.ID, "service", release.Service, "version", release.Version, "actor", c.Actor)
	answer(rw, http.StatusOK, "application/json", called{Release: release.ID, State: release.State, Outcome: release.Outcome})
	return nil
}

// called is the answer to a request that was done.
type called struct {
	Release  string             `json:"release"`
	State    gatekeeper.State   `json:"state,omitempty"`
	Outcome  gatekeeper.Outcome `json:"outcome,omitempty"`
	Repeated bool               `json:"repeated,omitempty"` // it was done before
}

// patient moves on the connection's deadlines, which are for slow senders: the body is there, and
// from now on actions take the time.
func patient(rw http.ResponseWriter) *problem {
	rc := http.NewResponseController(rw)
	err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Now().Add(callTime)))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return &problem{Status: http.StatusServiceUnavailable, reason: "broken", Detail: "the connection broke: send the request again"}
	}
	return nil
}

var statuses = map[gatekeeper.Code]int{
	gatekeeper.CodeInvalid: http.StatusBadRequest, gatekeeper.CodeUnsupported: http.StatusBadRequest,
	gatekeeper.CodeNotFound: http.StatusNotFound, gatekeeper.CodeConflict: http.StatusConflict,
	gatekeeper.CodeRefused: http.StatusForbidden, gatekeeper.CodeUnavailable: http.StatusServiceUnavailable,
}

func (g *generic) failed(c Call, err error) *problem {
	e, ok := errors.AsType[*gatekeeper.Error](err)
	if ok && statuses[e.Code] != 0 {
		return &problem{Status: statuses[e.Code], reason: string(e.Code), Detail: e.Message, Hint: gatekeeper.HintOf(err)}
	}
	g.webhooks.log.Error("a signed request could not be done", "sender", g.name, "action", c.Action, "release", c.ID, "err", err)
	return &problem{Status: http.StatusServiceUnavailable, reason: "internal", Detail: "the request could not be done: send it again"}
}

// decodeCall reads a body strictly: each action has fields of its own.
func decodeCall(sender string, body []byte) (Call, error) {
	var about struct {
		Action Action `json:"action"`
	}
	if err := json.Unmarshal(body, &about); err != nil {
		return Call{}, badCall("the body is not a JSON object with an action: %w", err)
	}
	var common struct {
		Action Action `json:"action"`
		ID     string `json:"id"`
		Actor  string `json:"actor"`
		Why    string `json:"why"`
	}
	c := Call{Action: about.Action}
	var err error
	switch about.Action {
	case ActionOpen:
		var in struct {
			Action Action `json:"action"`
			ID     string `json:"id"`
			Actor  string `json:"actor"`
			Opening
		}
		err = strict(body, &in)
		common.ID, common.Actor, c.Open = in.ID, in.Actor, in.Opening
	case ActionExtend:
		var in struct {
			Action Action              `json:"action"`
			ID     string              `json:"id"`
			Actor  string              `json:"actor"`
			Why    string              `json:"why"`
			By     gatekeeper.Duration `json:"by"`
		}
		err = strict(body, &in)
		common.ID, common.Actor, common.Why, c.By = in.ID, in.Actor, in.Why, time.Duration(in.By)
	case ActionDeployed, ActionHeartbeat, ActionMark, ActionClose:
		err = strict(body, &common)
	default:
		return Call{}, badCall("there is no action %q", clip(string(about.Action)))
	}
	if err != nil {
		return Call{}, badCall("%s: %w", about.Action, err)
	}
	c.ID, c.Why, c.Actor = common.ID, common.Why, sender
	if common.Actor != "" && common.Actor != sender {
		c.Actor = sender + " (" + common.Actor + ")"
	}
	return c, c.check(common.Actor)
}

func strict(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the object")
	}
	return nil
}

func badCall(format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, `post {"action": "open", "id": …, "service": …, "version": …, "health_file": …}; then "deployed", "heartbeat", "extend", "mark-irreversible" or "close" with the id`, format, args...)
}

// check holds a call to the caps and to what its action needs.
func (c Call) check(actor string) error {
	if c.ID == "" {
		return badCall("%s needs the id of the release, which the sender chooses when it opens it", c.Action)
	}
	for _, text := range []struct {
		name, text string
		limit      int
	}{
		{"id", c.ID, maxID},
		{"actor", actor, maxID},
		{"why", c.Why, maxReason},
		{"service", c.Open.Service, maxName},
		{"environment", c.Open.Environment, maxName},
		{"version", c.Open.Version, maxName},
		{"previous_version", c.Open.PreviousVersion, maxName},
		{"health_file", c.Open.HealthFile, maxName},
		{"plan", c.Open.Plan, maxName},
	} {
		if utf8.RuneCountInString(text.text) > text.limit {
			return badCall("%s is longer than %d characters", text.name, text.limit)
		}
		if strings.ContainsFunc(text.text, func(r rune) bool { return r < ' ' || r == 0x7f }) && text.name != "why" {
			return badCall("%s holds a control character", text.name)
		}
	}
	switch {
	case c.Action == ActionExtend && c.By <= 0:
		return badCall("extend needs by, such as 15m")
	case c.Action == ActionOpen && (c.Open.Service == "" || c.Open.Version == ""):
		return badCall("open needs a service and a version")
	case c.Open.Window < 0:
		return badCall("the window is negative")
	}
	return c.Open.checkLabels()
}

func (o Opening) checkLabels() error {
	if len(o.Labels) > maxLabels {
		return badCall("%d labels are more than %d", len(o.Labels), maxLabels)
	}
	for name, value := range o.Labels {
		if name == "" || len(name) > maxLabelName || len(value) > maxLabel {
			return badCall("the name or value of label %q is empty or too long", clip(name))
		}
	}
	return nil
}
