package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/dynamic"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

const (
	// keyAnnotation tells which decision changed the object last.
	keyAnnotation = "gatekeeper-engine.github.io/rollback"

	again = 20 * time.Millisecond // before a change is tried again on the newest state
)

// undo is the action kubernetes/rollout-undo.
type undo struct {
	object   object
	cluster  cluster
	previous bool // return to the revision before the live one
}

// Names gives the object, such as "deployment shop/checkout".
func (u *undo) Names() []string { return []string{u.object.String()} }

// Prepare pins the pod template, and proves that the credentials may change it.
func (u *undo) Prepare(ctx context.Context) (gatekeeper.Target, error) {
	api, over, err := u.cluster.client()
	if err != nil {
		return gatekeeper.Target{}, err
	}
	defer over()
	if err := access(ctx, api, u.cluster, u.object); err != nil {
		return gatekeeper.Target{}, err
	}
	w, err := read(ctx, api, u.object)
	if err != nil {
		return gatekeeper.Target{}, err
	}
	if why := w.obstacle(); why != "" {
		return gatekeeper.Target{}, gatekeeper.Errorf(gatekeeper.CodeConflict, "change that, then open the release again",
			"%s could not be taken back: %s", u.object, why)
	}
	t, err := u.pin(ctx, api, w)
	if err != nil {
		return gatekeeper.Target{}, err
	}
	return t.encode(u.object, w.warning())
}

// pin finds what to return to.
func (u *undo) pin(ctx context.Context, api dynamic.Interface, w *workload) (target, error) {
	t := target{Resource: u.object.kind.resource.Resource, Namespace: u.object.Namespace, Name: u.object.Name}
	history, err := historyOf(ctx, api, w)
	if err != nil {
		return t, err
	}
	if !u.previous {
		t.Template, t.Cause = json.RawMessage(w.template), w.Annotations[causeAnnotation]
		if r, ok := live(history, w); ok {
			t.From, t.FromName = string(r.uid), r.name
		}
		return t, nil
	}
	r, err := before(history, w)
	if err != nil {
		return t, err
	}
	t.From, t.FromName, t.Cause = string(r.uid), r.name, r.cause
	t.Template = json.RawMessage(r.template)
	// What was kept may be in the form of an older server; the answer is what it becomes today.
	would, err := patch(ctx, api, u.object, t.change(w), true)
	if err != nil {
		return t, failed("try to change", u.object, err)
	}
	t.Template = json.RawMessage(would.template)
	return t, nil
}

// Apply puts the pinned template in the place of the live one, if it is not there.
func (u *undo) Apply(ctx context.Context, pinned gatekeeper.Target, key gatekeeper.Key) (gatekeeper.Receipt, error) {
	t, err := decodeTarget(pinned, u.object)
	if err != nil {
		return gatekeeper.Receipt{}, errors.Join(err, actions.ErrNoEffect)
	}
	api, over, err := u.cluster.client()
	if err != nil {
		return gatekeeper.Receipt{}, noEffect(err)
	}
	defer over()
	for {
		w, err := read(ctx, api, u.object)
		if err != nil {
			return gatekeeper.Receipt{}, noEffect(err) // nothing but a question was asked
		}
		if w.template.equal(t.template()) {
			return gatekeeper.Receipt{Says: fmt.Sprintf("%s had %s already", u.object, w.template.images()) + w.warning()}, nil
		}
		if why := w.obstacle(); why != "" {
			return gatekeeper.Receipt{}, noEffect(gatekeeper.Errorf(gatekeeper.CodeConflict, "change that, or take the release back by hand",
				"%s can't be taken back: %s", u.object, why))
		}
		changed, err := patch(ctx, api, u.object, t.changeOnce(w, key), false)
		switch {
		case err == nil:
			return u.receipt(w, changed), nil
		case !apierrors.IsConflict(err) && rejected(err):
			return gatekeeper.Receipt{}, noEffect(failed("change", u.object, err))
		case !apierrors.IsConflict(err):
			return gatekeeper.Receipt{}, failed("change", u.object, err)
		}
		if err := wait(ctx, again); err != nil { // somebody else, or its controller, was faster
			return gatekeeper.Receipt{}, noEffect(gatekeeper.Errorf(gatekeeper.CodeConflict, "see who keeps changing it",
				"%s was changed by somebody else each time before it could be taken back: %w", u.object, err))
		}
	}
}

func (u *undo) receipt(was, is *workload) gatekeeper.Receipt {
	return gatekeeper.Receipt{
		Says: fmt.Sprintf("%s was taken from %s to %s", u.object, was.template.images(), is.template.images()) + is.warning(),
		Data: map[string]string{"uid": string(is.UID), "generation": fmt.Sprint(is.Generation)},
	}
}

// change gives the patch that leads from w to the target. As with kubectl the note why the version
// was rolled out goes back with the template.
func (t target) change(w *workload) []operation {
	notes := maps.Clone(w.Annotations)
	if notes == nil {
		notes = map[string]string{}
	}
	delete(notes, causeAnnotation)
	if t.Cause != "" {
		notes[causeAnnotation] = t.Cause
	}
	return []operation{
		{Op: "add", Path: "/metadata/annotations", Value: notes},
		{Op: "replace", Path: "/spec/template", Value: t.Template},
	}
}

// changeOnce gives the same, signed with the key and valid only while w is unchanged.
func (t target) changeOnce(w *workload, key gatekeeper.Key) []operation {
	return append(t.change(w),
		operation{Op: "add", Path: "/metadata/annotations/" + strings.ReplaceAll(keyAnnotation, "/", "~1"), Value: key},
		operation{Op: "replace", Path: "/metadata/resourceVersion", Value: w.ResourceVersion})
}

// Observe compares the live pod template with the target, and says how far its rollout is.
func (u *undo) Observe(ctx context.Context, pinned gatekeeper.Target) (gatekeeper.Live, error) {
	t, err := decodeTarget(pinned, u.object)
	if err != nil {
		return gatekeeper.Live{}, err
	}
	api, over, err := u.cluster.client()
	if err != nil {
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: err.Error()}, nil
	}
	defer over()
	w, err := read(ctx, api, u.object)
	switch {
	case gatekeeper.CodeOf(err) == gatekeeper.CodeNotFound:
		return gatekeeper.Live{Position: gatekeeper.Elsewhere, Print: "none", Says: fmt.Sprintf("%s does not exist any more", u.object)}, nil
	case err != nil:
		return gatekeeper.Live{Position: gatekeeper.Unknown, Says: err.Error()}, nil
	}
	return w.against(t)
}

// against places the live object with respect to the target.
func (w *workload) against(t target) (gatekeeper.Live, error) {
	done, progress := w.rollout()
	l := gatekeeper.Live{Position: gatekeeper.AtTarget, Print: w.template.print()}
	l.Says = fmt.Sprintf("%s has %s: %s", w.object, w.template.images(), progress)
	if w.template.equal(t.template()) {
		if !done {
			l.Position = gatekeeper.InProgress
		}
		return l, nil
	}
	l.Position = gatekeeper.Elsewhere
	if wanted := t.template().images(); wanted != w.template.images() {
		l.Says += fmt.Sprintf("; the target has %s", wanted)
		return l, nil
	}
	fields, err := w.template.differs(t.template())
	l.Says += "; the target has the same, but another " + fields
	return l, err
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
