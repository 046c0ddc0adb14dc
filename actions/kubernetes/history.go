package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/gatekeeper-engine/gatekeeper"
)

const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	causeAnnotation    = "kubernetes.io/change-cause"
)

// revision is a pod template that the cluster keeps of an object.
type revision struct {
	name     string
	uid      types.UID
	number   int64 // only to order them: an undo gives the revision it returns to a new one
	cause    string
	template template
}

// revision names what keeps a template of this kind.
func (k kind) revision() string {
	if k.history.Resource == "replicasets" {
		return "ReplicaSet"
	}
	return "ControllerRevision"
}

// historyOf gives the templates that the cluster keeps of w, the newest first.
func historyOf(ctx context.Context, api dynamic.Interface, w *workload) ([]revision, error) {
	selector, err := metav1.LabelSelectorAsSelector(&w.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("%s: its selector can't be read: %w", w.object, err)
	}
	kept, err := api.Resource(w.object.kind.history).Namespace(w.object.Namespace).
		List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return nil, failed("list the history of", w.object, err)
	}
	var all []revision
	for i := range kept.Items {
		one := &kept.Items[i]
		if owner := metav1.GetControllerOf(one); owner == nil || owner.UID != w.UID {
			continue
		}
		r, err := revisionOf(one)
		if err != nil {
			return nil, fmt.Errorf("%s: its history: %s %s: %w", w.object, w.object.kind.revision(), one.GetName(), err)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b revision) int { return cmp.Compare(b.number, a.number) })
	return all, nil
}

func revisionOf(one *unstructured.Unstructured) (revision, error) {
	r := revision{name: one.GetName(), uid: one.GetUID(), cause: one.GetAnnotations()[causeAnnotation]}
	path := []string{"spec", "template"}
	var err error
	if one.GetKind() == "ControllerRevision" {
		path = []string{"data", "spec", "template"}
		r.number, _, err = unstructured.NestedInt64(one.Object, "revision")
	} else if text, ok := one.GetAnnotations()[revisionAnnotation]; ok { // none yet: the oldest
		r.number, err = strconv.ParseInt(text, 10, 64)
	}
	if err != nil {
		return r, fmt.Errorf("its revision can't be read: %w", err)
	}
	found, ok, err := unstructured.NestedMap(one.Object, path...)
	if err != nil || !ok {
		return r, errors.New("it holds no pod template")
	}
	r.template, err = templateOf(found)
	return r, err
}

// live gives the revision that keeps w's present template. There is none yet where the controller
// has not seen it.
func live(history []revision, w *workload) (revision, bool) {
	for _, r := range history {
		if r.template.equal(w.template) {
			return r, true
		}
	}
	return revision{}, false
}

// before gives the newest revision with another template than w's.
func before(history []revision, w *workload) (revision, error) {
	for _, r := range history {
		if !r.template.equal(w.template) {
			return r, nil
		}
	}
	return revision{}, gatekeeper.Errorf(gatekeeper.CodeConflict, "open the release before the deploy, without return_to",
		"%s has no earlier revision to return to: revisionHistoryLimit says how many are kept", w.object)
}
