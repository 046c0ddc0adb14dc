package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/actiontest"
)

var kinds = []kind{deployment, statefulSet, daemonSet}

func clone(o map[string]any) map[string]any { return runtime.DeepCopyJSON(o) }

func unstructuredOf(o map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: o}
}

// bind opens the action through the registry, as the engine does.
func bind(kubeconfig, with, returnTo string, more ...string) (actions.Action, error) {
	r, err := actions.NewRegistry(Specs()...)
	if err != nil {
		return nil, err
	}
	settings := fmt.Sprintf(`{"kubeconfig":%q}`, kubeconfig)
	if len(more) > 0 {
		settings = more[0]
	}
	a, _, err := r.Open("kubernetes/rollout-undo", json.RawMessage(with),
		actions.Binding{Connection: actions.Connection{Name: "shop-cluster", Kind: Kind, Settings: json.RawMessage(settings)}, ReturnTo: returnTo})
	return a, err
}

func (f *fake) open(k kind, returnTo string) actions.Action {
	a, err := bind(f.config, fmt.Sprintf(`{"namespace":"shop",%q:"checkout"}`, k.name), returnTo)
	require.NoError(f.t, err)
	return a
}

func (f *fake) pinned(k kind) gatekeeper.Target {
	t, err := f.open(k, "").Prepare(f.t.Context())
	require.NoError(f.t, err)
	return t
}

func TestConformance(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			actiontest.Run(t, gatekeeper.ByTarget, func(t *testing.T) actiontest.System {
				f := startFake(t)
				f.deploy(k, "checkout:1")
				return actiontest.System{
					Open:    func() actions.Action { return f.open(k, "") },
					Release: func() { f.deploy(k, "checkout:2") },
					State: func() string {
						f.mu.Lock()
						defer f.mu.Unlock()
						text, err := json.Marshal(f.objects[path(k, "checkout")]["spec"])
						require.NoError(t, err)
						return string(text)
					},
					Refuse: func() {
						f.mu.Lock()
						defer f.mu.Unlock()
						f.denied["patch "+k.resource.Resource] = true
					},
					Stop: f.stop, Hang: f.hang, Secrets: []string{fakeToken},
				}
			})
		})
	}
}

func TestPrepareSaysWhatIsPinned(t *testing.T) {
	f := startFake(t)
	f.deploy(deployment, "checkout:1")
	require.Equal(t, "deployment shop/checkout with image checkout:1 (ReplicaSet checkout-1, uid uid-of-checkout-1)", f.pinned(deployment).Says)
	require.NotContains(t, f.pinned(deployment).Says, "hunter2")

	for mark, says := range map[string]string{
		"argocd.argoproj.io/tracking-id":    "Argo CD manages it and will undo this",
		"kustomize.toolkit.fluxcd.io/name":  "Flux manages it",
		"helm.toolkit.fluxcd.io/name":       "Flux manages it",
		"app.kubernetes.io/instance":        "",
		"kustomize.toolkit.fluxcd.io/other": "Flux manages it",
	} {
		for _, where := range []string{"labels", "annotations"} {
			f.edit(deployment, func(o content) {
				delete(o["metadata"].(content), "labels")
				delete(o["metadata"].(content), "annotations")
				o["metadata"].(content)[where] = content{mark: "x"}
			})
			if got := f.pinned(deployment).Says; says == "" {
				require.NotContains(t, got, "manages it", mark)
			} else {
				require.Contains(t, got, says, mark)
			}
		}
	}
	f.edit(deployment, func(o content) {
		delete(o["metadata"].(content), "annotations")
		o["metadata"].(content)["labels"] = content{"app.kubernetes.io/instance": "shop"}
		o["metadata"].(content)["managedFields"] = []any{content{"manager": "argocd-controller"}}
	})
	require.Contains(t, f.pinned(deployment).Says, "Argo CD manages it")
	f.edit(deployment, func(o content) {
		o["metadata"].(content)["annotations"] = content{"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}
	})
	require.NotContains(t, f.pinned(deployment).Says, "manages it", "Flux was told to leave it alone")
}

func TestPrepareRefuses(t *testing.T) {
	spec := func(key string, v any) func(*fake, kind) {
		return func(f *fake, k kind) { f.edit(k, func(o content) { o["spec"].(content)[key] = v }) }
	}
	for name, c := range map[string]struct {
		kind    kind
		arrange func(*fake, kind)
		says    string
		code    gatekeeper.Code
	}{
		"no permission": {
			deployment, func(f *fake, _ kind) { f.denied["patch deployments"], f.denied["list replicasets"] = true, true },
			"may not patch deployments and list replicasets in namespace shop", gatekeeper.CodeRefused,
		},
		"no object":  {daemonSet, func(f *fake, k kind) { delete(f.objects, path(k, "checkout")) }, "there is no daemonset shop/checkout", gatekeeper.CodeNotFound},
		"paused":     {deployment, spec("paused", true), "it is paused: resume it", gatekeeper.CodeConflict},
		"on delete":  {statefulSet, spec("updateStrategy", content{"type": "OnDelete"}), "OnDelete", gatekeeper.CodeConflict},
		"large":      {deployment, spec("template", podTemplate(string(make([]byte, maxTemplate)))), "more than the 65536 that can be pinned", gatekeeper.CodeRefused},
		"no reviews": {deployment, func(f *fake, _ kind) { f.answer = func(*http.Request) (int, string) { return 500, "InternalError" } }, "could not be asked to ask for permissions", gatekeeper.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t)
			f.deploy(c.kind, "checkout:1")
			c.arrange(f, c.kind)
			_, err := f.open(c.kind, "").Prepare(t.Context())
			require.ErrorContains(t, err, c.says)
			require.Equal(t, c.code, gatekeeper.CodeOf(err))
			require.NotEmpty(t, gatekeeper.HintOf(err))
		})
	}
}

func TestPreviousIsTheNewestRevisionWithAnotherTemplate(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			f := startFake(t)
			f.deploy(k, "checkout:1")
			_, err := f.open(k, "previous").Prepare(t.Context())
			require.ErrorContains(t, err, "has no earlier revision")

			f.deploy(k, "checkout:2")
			f.deploy(k, "checkout:3")
			f.deploy(k, "checkout:1") // renumbers: 2, 3, 1
			pinned, err := f.open(k, "previous").Prepare(t.Context())
			require.NoError(t, err)
			require.Contains(t, pinned.Says, "image checkout:3")

			changes := f.changes
			require.Zero(t, changes, "a dry run changes nothing")
			_, err = f.open(k, "previous").Apply(t.Context(), pinned, "r/1")
			require.NoError(t, err)
			live, err := f.open(k, "previous").Observe(t.Context(), pinned)
			require.NoError(t, err)
			require.Equal(t, gatekeeper.AtTarget, live.Position, live.Says)
		})
	}
}

func TestApplyKeepsWhatIsBesideTheTemplate(t *testing.T) {
	f := startFake(t)
	f.deploy(deployment, "checkout:1")
	f.edit(deployment, func(o content) {
		o["metadata"].(content)["annotations"] = content{"team": "shop", causeAnnotation: "first"}
	})
	pinned := f.pinned(deployment)
	f.deploy(deployment, "checkout:2")
	f.edit(deployment, func(o content) {
		o["spec"].(content)["replicas"] = int64(7)
		o["metadata"].(content)["annotations"] = content{"team": "cart", causeAnnotation: "second"}
	})
	receipt, err := f.open(deployment, "").Apply(t.Context(), pinned, "r/1")
	require.NoError(t, err)
	require.Equal(t, "deployment shop/checkout was taken from image checkout:2 to image checkout:1", receipt.Says)
	now := f.objects[path(deployment, "checkout")]
	require.EqualValues(t, 7, now["spec"].(content)["replicas"])
	require.Equal(t, content{"team": "cart", causeAnnotation: "first", keyAnnotation: "r/1"}, now["metadata"].(content)["annotations"])

	receipt, err = f.open(deployment, "").Apply(t.Context(), pinned, "r/1")
	require.NoError(t, err)
	require.Contains(t, receipt.Says, "had image checkout:1 already")
	require.Equal(t, 1, f.changes)
}

func TestApplyTriesAgainOnTheNewestState(t *testing.T) {
	f := startFake(t)
	f.deploy(deployment, "checkout:1")
	pinned := f.pinned(deployment)
	f.deploy(deployment, "checkout:2")
	times := 0
	f.meddle = func() {
		if times++; times < 4 {
			f.bump(f.objects[path(deployment, "checkout")])
		}
	}
	_, err := f.open(deployment, "").Apply(t.Context(), pinned, "r/1")
	require.NoError(t, err)
	require.Equal(t, 4, times)
	require.Equal(t, 1, f.changes)

	f.deploy(deployment, "checkout:2")
	f.meddle = func() { f.bump(f.objects[path(deployment, "checkout")]) }
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = f.open(deployment, "").Apply(ctx, pinned, "r/1")
	require.ErrorIs(t, err, actions.ErrNoEffect)
	require.Equal(t, 1, f.changes)
}

func TestApplyTellsRefusalFromDoubt(t *testing.T) {
	for code, certain := range map[int]bool{403: true, 404: true, 422: true, 400: true, 413: true, 500: false, 504: false} {
		f := startFake(t)
		f.deploy(deployment, "checkout:1")
		pinned := f.pinned(deployment)
		f.deploy(deployment, "checkout:2")
		f.answer = func(r *http.Request) (int, string) {
			if r.Method == http.MethodPatch {
				return code, ""
			}
			return 0, ""
		}
		_, err := f.open(deployment, "").Apply(t.Context(), pinned, "r/1")
		require.Error(t, err)
		require.Equal(t, certain, errors.Is(err, actions.ErrNoEffect), "%d: %s", code, err)
	}
	for says, arrange := range map[string]func(f *fake){
		"there is no deployment": func(f *fake) { delete(f.objects, path(deployment, "checkout")) },
		"it is paused":           func(f *fake) { f.edit(deployment, func(o content) { o["spec"].(content)["paused"] = true }) },
	} {
		f := startFake(t)
		f.deploy(deployment, "checkout:1")
		pinned := f.pinned(deployment)
		f.deploy(deployment, "checkout:2")
		arrange(f)
		_, err := f.open(deployment, "").Apply(t.Context(), pinned, "r/1")
		require.ErrorContains(t, err, says)
		require.ErrorIs(t, err, actions.ErrNoEffect)
		require.Zero(t, f.changes)
	}
}

func TestObserve(t *testing.T) {
	f := startFake(t)
	f.deploy(deployment, "checkout:1")
	pinned := f.pinned(deployment)
	observe := func() gatekeeper.Live {
		l, err := f.open(deployment, "").Observe(t.Context(), pinned)
		require.NoError(t, err)
		return l
	}
	require.Equal(t, "deployment shop/checkout has image checkout:1: 5 of 5 updated pods are ready", observe().Says)

	f.deploy(deployment, "checkout:2")
	l := observe()
	require.Equal(t, gatekeeper.Elsewhere, l.Position)
	require.Contains(t, l.Says, "has image checkout:2")
	require.Contains(t, l.Says, "the target has image checkout:1")

	f.rolling = true
	_, err := f.open(deployment, "").Apply(t.Context(), pinned, "r/1")
	require.NoError(t, err)
	l = observe()
	require.Equal(t, gatekeeper.InProgress, l.Position)
	require.Contains(t, l.Says, "3 of 5 updated pods are ready")

	f.edit(deployment, func(o content) {
		env := o["spec"].(content)["template"].(content)["spec"].(content)["containers"].([]any)[0].(content)["env"].([]any)
		env[0].(content)["value"] = "hunter3"
	})
	l = observe()
	require.Equal(t, gatekeeper.Elsewhere, l.Position)
	require.Contains(t, l.Says, "another .spec.containers[0].env[0].value")
	require.NotContains(t, l.Says, "hunter")

	f.mu.Lock()
	delete(f.objects, path(deployment, "checkout"))
	f.mu.Unlock()
	l = observe()
	require.Equal(t, gatekeeper.Elsewhere, l.Position)
	require.Equal(t, "deployment shop/checkout does not exist any more", l.Says)
	require.NotEmpty(t, l.Print)

	f.denied["get deployments"] = true
	l = observe()
	require.Equal(t, gatekeeper.Unknown, l.Position)
	require.Contains(t, l.Says, "Kubernetes refused to read")

	pinned.Data = json.RawMessage(`{"resource":"deployments","namespace":"shop","name":"basket","template":{"a":1}}`)
	_, err = f.open(deployment, "").Observe(t.Context(), pinned)
	require.ErrorContains(t, err, "it is not of deployment shop/checkout")
}

// The rules of kubectl rollout status (kubectl, pkg/polymorphichelpers/rollout_status.go).
func TestProgress(t *testing.T) {
	for name, c := range map[string]struct {
		kind kind
		o    string
		done bool
		says string
	}{
		"not seen":        {deployment, `{"metadata":{"generation":2},"status":{"observedGeneration":1}}`, false, "has not seen the change"},
		"deleted":         {deployment, `{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}`, false, "being deleted"},
		"few updated":     {deployment, `{"spec":{"replicas":5},"status":{"updatedReplicas":2}}`, false, "2 of 5 pods are updated"},
		"paused":          {deployment, `{"spec":{"replicas":5,"paused":true},"status":{"updatedReplicas":2}}`, false, "paused at 2 of 5"},
		"late":            {deployment, `{"spec":{"replicas":5},"status":{"updatedReplicas":2,"conditions":[{"type":"Progressing","reason":"ProgressDeadlineExceeded"}]}}`, false, "deadline is exceeded"},
		"old ones":        {deployment, `{"spec":{"replicas":5},"status":{"updatedReplicas":5,"replicas":6}}`, false, "1 pod of other versions"},
		"not ready":       {deployment, `{"spec":{"replicas":5},"status":{"updatedReplicas":5,"replicas":5,"availableReplicas":3}}`, false, "3 of 5 updated pods are ready"},
		"done":            {deployment, `{"status":{"updatedReplicas":1,"replicas":1,"availableReplicas":1}}`, true, "1 of 1"},
		"set updates":     {statefulSet, `{"spec":{"replicas":3},"status":{"readyReplicas":3,"updatedReplicas":1}}`, false, "1 of 3 pods are updated"},
		"set held up":     {statefulSet, `{"spec":{"replicas":3},"status":{"readyReplicas":2,"updatedReplicas":1}}`, false, "until you delete it"},
		"set in parallel": {statefulSet, `{"spec":{"replicas":3,"podManagementPolicy":"Parallel"},"status":{"readyReplicas":2,"updatedReplicas":3}}`, false, "2 of 3 pods are ready"},
		"set partitioned": {statefulSet, `{"spec":{"replicas":3,"updateStrategy":{"rollingUpdate":{"partition":2}}},"status":{"readyReplicas":3,"updatedReplicas":1}}`, true, "1 of 3 pods"},
		"daemons update":  {daemonSet, `{"status":{"desiredNumberScheduled":3,"updatedNumberScheduled":1}}`, false, "1 of 3 pods are updated"},
		"daemons start":   {daemonSet, `{"status":{"desiredNumberScheduled":3,"updatedNumberScheduled":3,"numberAvailable":2}}`, false, "2 of 3 updated pods are ready"},
		"daemons done":    {daemonSet, `{"status":{"desiredNumberScheduled":3,"updatedNumberScheduled":3,"numberAvailable":3}}`, true, "3 of 3"},
	} {
		t.Run(name, func(t *testing.T) {
			u := &unstructured.Unstructured{}
			require.NoError(t, json.Unmarshal([]byte(c.o), &u.Object))
			require.NoError(t, unstructured.SetNestedMap(u.Object, podTemplate("x"), "spec", "template"))
			w, err := workloadOf(object{kind: c.kind, Namespace: "shop", Name: "checkout"}, u)
			require.NoError(t, err)
			done, says := w.rollout()
			require.Equal(t, c.done, done)
			require.Contains(t, says, c.says)
		})
	}
}

func TestSettings(t *testing.T) {
	f := startFake(t)
	for with, says := range map[string]string{
		`{"namespace":"shop"}`: "exactly one of deployment, statefulset and daemonset",
		`{"namespace":"shop","deployment":"a","daemonset":"b"}`: "not daemonset and deployment",
		`{"deployment":"a"}`:                                 "namespace: is missing",
		`{"namespace":"../kube-system","deployment":"a"}`:    "no name of a namespace",
		`{"namespace":"shop","deployment":"a/b"}`:            "no name of an object",
		`{"namespace":"shop","deployment":"a","revision":3}`: "unknown setting",
	} {
		_, err := bind(f.config, with, "")
		require.ErrorContains(t, err, says, with)
	}
	with := `{"namespace":"shop","deployment":"checkout"}`
	for connection, says := range map[string]string{
		`{"kubeconfig":"k"}`:                          "want an absolute path",
		`{"context":"c"}`:                             "needs kubeconfig",
		`{"kubeconfig":"/k","namespaces":["Shop"]}`:   "no name of a namespace",
		`{"kubeconfig":"/k","namespaces":["basket"]}`: "allows nothing in namespace shop",
	} {
		_, err := bind("", with, "", connection)
		require.ErrorContains(t, err, says, connection)
	}
	f.deploy(deployment, "checkout:1")
	for connection, says := range map[string]string{
		`{}`:                             "does not run in a cluster",
		`{"kubeconfig":"/no/such/file"}`: "no such file",
		fmt.Sprintf(`{"kubeconfig":%q,"context":"moon"}`, f.config):  "moon",
		fmt.Sprintf(`{"kubeconfig":%q,"context":"other"}`, f.config): "did not accept the connection's credentials",
	} {
		a, err := bind("", with, "", connection)
		require.NoError(t, err, "open reaches for nothing")
		_, err = a.Prepare(t.Context())
		require.ErrorContains(t, err, says, connection)
		live, err := a.Observe(t.Context(), f.pinned(deployment))
		require.NoError(t, err)
		require.Equal(t, gatekeeper.Unknown, live.Position)
		_, err = a.Apply(t.Context(), f.pinned(deployment), "r/1")
		require.ErrorIs(t, err, actions.ErrNoEffect)
	}
}
