package kubernetes

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind is one of the kinds of objects with a pod template and a history of it.
type kind struct {
	name     string // as kubectl writes it
	resource schema.GroupVersionResource
	history  schema.GroupVersionResource // of the objects that keep its earlier templates
	progress func(*workload) (done bool, says string)
}

var (
	deployment  = kind{"deployment", apps("deployments"), apps("replicasets"), deploymentProgress}
	statefulSet = kind{"statefulset", apps("statefulsets"), apps("controllerrevisions"), statefulSetProgress}
	daemonSet   = kind{"daemonset", apps("daemonsets"), apps("controllerrevisions"), daemonSetProgress}
)

func apps(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: resource}
}

// object names one object of a cluster.
type object struct {
	kind            kind
	Namespace, Name string
}

// String names it for people: "deployment shop/checkout".
func (o object) String() string { return o.kind.name + " " + o.Namespace + "/" + o.Name }

// workload is such an object.
type workload struct {
	fields
	object   object
	template template
}

// fields are those that matter here beside the pod template.
type fields struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Replicas            *int32               `json:"replicas"`
		Paused              bool                 `json:"paused"`
		Selector            metav1.LabelSelector `json:"selector"`
		PodManagementPolicy string               `json:"podManagementPolicy"`
		UpdateStrategy      struct {
			Type          string `json:"type"`
			RollingUpdate struct {
				Partition int32 `json:"partition"`
			} `json:"rollingUpdate"`
		} `json:"updateStrategy"` // not of a Deployment
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64       `json:"observedGeneration"`
		Replicas           int32       `json:"replicas"`
		ReadyReplicas      int32       `json:"readyReplicas"`
		UpdatedReplicas    int32       `json:"updatedReplicas"`
		AvailableReplicas  int32       `json:"availableReplicas"`
		Conditions         []condition `json:"conditions"`

		DesiredNumberScheduled int32 `json:"desiredNumberScheduled"` // these of a DaemonSet
		UpdatedNumberScheduled int32 `json:"updatedNumberScheduled"`
		NumberAvailable        int32 `json:"numberAvailable"`
	} `json:"status"`
}

type condition struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

func workloadOf(o object, got *unstructured.Unstructured) (*workload, error) {
	w := workload{object: o}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(got.Object, &w.fields); err != nil {
		return nil, fmt.Errorf("%s can't be read: %w", o, err)
	}
	found, ok, err := unstructured.NestedMap(got.Object, "spec", "template")
	if err != nil || !ok {
		return nil, fmt.Errorf("%s has no pod template", o)
	}
	if w.template, err = templateOf(found); err != nil {
		return nil, fmt.Errorf("%s: %w", o, err)
	}
	return &w, nil
}

// replicas is how many pods there should be; the server's default is 1.
func (w *workload) replicas() int32 {
	if w.Spec.Replicas == nil {
		return 1
	}
	return *w.Spec.Replicas
}

// rollout says whether the live template has arrived in all pods, and how far it is: the rules of
// `kubectl rollout status`.
func (w *workload) rollout() (done bool, says string) {
	switch {
	case w.DeletionTimestamp != nil:
		return false, "it is being deleted"
	case w.Generation > w.Status.ObservedGeneration:
		return false, "its controller has not seen the change yet"
	}
	return w.object.kind.progress(w)
}

func deploymentProgress(w *workload) (bool, string) {
	want, s := w.replicas(), w.Status
	late := ""
	for _, c := range w.Status.Conditions {
		if c.Type == "Progressing" && c.Reason == "ProgressDeadlineExceeded" {
			late = "; its progress deadline is exceeded"
		}
	}
	switch {
	case s.UpdatedReplicas < want && w.Spec.Paused:
		return false, fmt.Sprintf("it is paused at %d of %d updated pods: nothing moves until `kubectl rollout resume`", s.UpdatedReplicas, want)
	case s.UpdatedReplicas < want:
		return false, fmt.Sprintf("%d of %d pods are updated", s.UpdatedReplicas, want) + late
	case s.Replicas > s.UpdatedReplicas:
		return false, fmt.Sprintf("%s of other versions still to end", pods(s.Replicas-s.UpdatedReplicas)) + late
	case s.AvailableReplicas < s.UpdatedReplicas:
		return false, fmt.Sprintf("%d of %d updated pods are ready", s.AvailableReplicas, s.UpdatedReplicas) + late
	}
	return true, fmt.Sprintf("%d of %d updated pods are ready", s.AvailableReplicas, want)
}

func statefulSetProgress(w *workload) (bool, string) {
	want, s := w.replicas(), w.Status
	part := max(0, want-w.Spec.UpdateStrategy.RollingUpdate.Partition)
	switch {
	case s.UpdatedReplicas < part && s.ReadyReplicas < want && w.Spec.PodManagementPolicy != "Parallel":
		return false, fmt.Sprintf("%d of %d pods are updated; a pod of another version that never gets ready holds this up until you delete it", s.UpdatedReplicas, part)
	case s.UpdatedReplicas < part:
		return false, fmt.Sprintf("%d of %d pods are updated", s.UpdatedReplicas, part)
	case s.ReadyReplicas < want:
		return false, fmt.Sprintf("%d of %d pods are ready", s.ReadyReplicas, want)
	}
	return true, fmt.Sprintf("%d of %d pods are updated and ready", s.UpdatedReplicas, want)
}

func daemonSetProgress(w *workload) (bool, string) {
	want, s := w.Status.DesiredNumberScheduled, w.Status
	switch {
	case s.UpdatedNumberScheduled < want:
		return false, fmt.Sprintf("%d of %d pods are updated", s.UpdatedNumberScheduled, want)
	case s.NumberAvailable < want:
		return false, fmt.Sprintf("%d of %d updated pods are ready", s.NumberAvailable, want)
	}
	return true, fmt.Sprintf("%d of %d updated pods are ready", s.NumberAvailable, want)
}

// obstacle says why a change of the template would move no pod; "" if it would.
func (w *workload) obstacle() string {
	switch {
	case w.Spec.Paused:
		return "it is paused: resume it with `kubectl rollout resume`"
	case w.Spec.UpdateStrategy.Type == "OnDelete":
		return "its update strategy is OnDelete, so pods change only when somebody deletes them: use RollingUpdate"
	case w.DeletionTimestamp != nil:
		return "it is being deleted"
	}
	return ""
}

func pods(n int32) string {
	if n == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", n)
}

func list(all []string) string {
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " and " + all[last]
}
