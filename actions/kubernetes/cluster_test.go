package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/actiontest"
	"github.com/gatekeeper-engine/gatekeeper/internal/kubetest"
)

// control is the real control plane, nil unless make test-kubernetes runs the tests.
var control *kubetest.Cluster

func TestMain(m *testing.M) {
	if assets, ok := kubetest.Assets(); ok {
		var err error
		if control, err = kubetest.Start(assets); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := m.Run()
	if control != nil {
		control.Stop()
	}
	os.Exit(code)
}

var spaces atomic.Int64

// shop is a namespace of the real cluster with one workload, as Gatekeeper's service account sees
// it through a proxy, and as the administrator sees it.
type shop struct {
	t         *testing.T
	kind      kind
	namespace string
	config    string // kubeconfig file of Gatekeeper's service account
	token     string
	proxy     *proxy
}

// startShop makes the namespace, binds the published Role in it and deploys version 1.
func startShop(t *testing.T, k kind) *shop {
	t.Helper()
	if control == nil {
		t.Skip("make test-kubernetes runs this")
	}
	s := &shop{t: t, kind: k, namespace: fmt.Sprintf("shop-%d", spaces.Add(1)), proxy: startProxy(t, control.Address)}
	manifest, err := os.ReadFile("../../deploy/kubernetes/rbac.yaml")
	require.NoError(t, err)
	s.apply(fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", s.namespace))
	s.apply(strings.ReplaceAll(string(manifest), "namespace: shop", "namespace: "+s.namespace))
	s.token, err = control.Token(t.Context(), "gatekeeper", "gatekeeper")
	require.NoError(t, err)
	s.config = filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, control.Kubeconfig(s.config, s.proxy.address(), s.token))
	s.apply(s.manifest("checkout:1", ""))
	s.rolledOut("checkout:1")
	return s
}

func (s *shop) apply(manifests string) {
	s.t.Helper()
	require.NoError(s.t, control.Apply(s.t.Context(), manifests))
}

// manifest gives the workload with an image and more labels on its pods.
func (s *shop) manifest(image, more string) string {
	name := map[string]string{"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}[s.kind.name]
	replicas := "replicas: 3, "
	if s.kind.name == "daemonset" {
		replicas = ""
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: %s
metadata: {name: checkout, namespace: %s, annotations: {kubernetes.io/change-cause: "deploy %s"}}
spec: {%sselector: {matchLabels: {app: checkout}}, template: {metadata: {labels: {app: checkout%s}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: %q, resources: {requests: {cpu: 100m}}}]}}}
`, name, s.namespace, image, replicas, more, image)
}

// deploy puts an image into the workload, as a pipeline does with kubectl set image.
func (s *shop) deploy(image string) {
	s.t.Helper()
	s.patch(fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"app","image":%q}]}}}}`, image))
}

// deployBroken rolls out an image whose pods never get ready.
func (s *shop) deployBroken(image string) {
	s.t.Helper()
	s.patch(fmt.Sprintf(`{"spec":{"template":{"metadata":{"labels":{%q:"true"}},"spec":{"containers":[{"name":"app","image":%q}]}}}}`, kubetest.NeverReady, image))
}

func (s *shop) patch(body string) {
	s.t.Helper()
	_, err := s.workloads().Patch(s.t.Context(), "checkout", types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "pipeline"})
	require.NoError(s.t, err)
}

func (s *shop) workloads() dynamic.ResourceInterface {
	return control.Admin.Resource(s.kind.resource).Namespace(s.namespace)
}

func (s *shop) live() *workload {
	s.t.Helper()
	got, err := s.workloads().Get(s.t.Context(), "checkout", metav1.GetOptions{})
	require.NoError(s.t, err)
	w, err := workloadOf(s.object(), got)
	require.NoError(s.t, err)
	return w
}

func (s *shop) object() object {
	return object{kind: s.kind, Namespace: s.namespace, Name: "checkout"}
}

// images gives the images of the pods that are ready.
func (s *shop) images() []string {
	s.t.Helper()
	found, err := control.Admin.Resource(kubetest.Core("pods")).Namespace(s.namespace).List(s.t.Context(), metav1.ListOptions{})
	require.NoError(s.t, err)
	var all []string
	for _, p := range found.Items {
		containers, _, err := unstructured.NestedSlice(p.Object, "spec", "containers")
		require.NoError(s.t, err)
		phase, _, err := unstructured.NestedString(p.Object, "status", "phase")
		require.NoError(s.t, err)
		if phase == "Running" && p.GetDeletionTimestamp() == nil {
			all = append(all, containers[0].(map[string]any)["image"].(string))
		}
	}
	return all
}

func (s *shop) rolledOut(image string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		w := s.live()
		done, _ := w.rollout()
		return done && w.template.images() == "image "+image && len(s.images()) == 3
	}, 30*time.Second, 20*time.Millisecond, "not rolled out")
	require.Equal(s.t, []string{image, image, image}, s.images())
}

func (s *shop) with() string {
	return fmt.Sprintf(`{"namespace":%q,%q:"checkout"}`, s.namespace, s.kind.name)
}

func (s *shop) open(returnTo string) actions.Action {
	a, err := bind(s.config, s.with(), returnTo)
	require.NoError(s.t, err)
	return a
}

func (s *shop) prepare(returnTo string) gatekeeper.Target {
	s.t.Helper()
	pinned, err := s.open(returnTo).Prepare(s.t.Context())
	require.NoError(s.t, err)
	return pinned
}

// reached observes until the target is reached and gives what was said on the way.
func (s *shop) reached(pinned gatekeeper.Target) []string {
	s.t.Helper()
	var said []string
	require.Eventually(s.t, func() bool {
		l, err := s.open("").Observe(s.t.Context(), pinned)
		require.NoError(s.t, err)
		if len(said) == 0 || said[len(said)-1] != l.Says {
			said = append(said, l.Says)
		}
		return l.Position == gatekeeper.AtTarget
	}, 30*time.Second, 5*time.Millisecond, "not at the target")
	return said
}

func TestClusterConformance(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			actiontest.Run(t, gatekeeper.ByTarget, func(t *testing.T) actiontest.System {
				s := startShop(t, k)
				return actiontest.System{
					Open: func() actions.Action { return s.open("") },
					Release: func() {
						s.deploy("checkout:2")
						s.rolledOut("checkout:2")
					},
					State:  func() string { return string(s.live().template) },
					Refuse: s.mayOnlyRead,
					Stop:   s.proxy.stop, Hang: s.proxy.hang, Secrets: []string{s.token},
				}
			})
		})
	}
}

var bindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}

// mayOnlyRead takes the permission to patch away and waits until that holds.
func (s *shop) mayOnlyRead() {
	s.t.Helper()
	require.NoError(s.t, control.Admin.Resource(bindings).Namespace(s.namespace).Delete(s.t.Context(), "gatekeeper-rollout-undo", metav1.DeleteOptions{}))
	s.apply(fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: %[1]s}
rules: [{apiGroups: [apps], resources: ["*"], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: %[1]s}
subjects: [{kind: ServiceAccount, name: gatekeeper, namespace: gatekeeper}]
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
`, s.namespace))
	api, err := control.Client(s.token)
	require.NoError(s.t, err)
	require.Eventually(s.t, func() bool {
		_, err := api.Resource(s.kind.resource).Namespace(s.namespace).Patch(s.t.Context(), "checkout", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		_, readErr := api.Resource(s.kind.resource).Namespace(s.namespace).Get(s.t.Context(), "checkout", metav1.GetOptions{})
		return apierrors.IsForbidden(err) && readErr == nil
	}, 10*time.Second, 20*time.Millisecond, "it may still patch")
}

func TestClusterUndoOfABrokenRollout(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s := startShop(t, k)
			pinned := s.prepare("")
			s.deployBroken("checkout:2")
			require.Eventually(t, func() bool {
				return len(s.images()) < 3 || k.name == "deployment" && s.live().Status.UpdatedReplicas > 0
			}, 20*time.Second, 10*time.Millisecond, "the rollout does not begin")
			live, err := s.open("").Observe(t.Context(), pinned)
			require.NoError(t, err)
			require.Equal(t, gatekeeper.Elsewhere, live.Position)
			require.Contains(t, live.Says, "image checkout:2")

			previous := s.prepare("previous")
			require.Contains(t, previous.Says, "image checkout:1")
			receipt, err := s.open("").Apply(t.Context(), pinned, "r/1")
			require.NoError(t, err)
			require.Contains(t, receipt.Says, "from image checkout:2 to image checkout:1")
			if k.name == "statefulset" {
				s.freeStatefulSet(pinned)
			}
			said := s.reached(pinned)
			t.Log(strings.Join(said, "\n"))
			s.rolledOut("checkout:1")
			s.reached(previous)
			w := s.live()
			require.Equal(t, "r/1", w.Annotations[keyAnnotation])
			require.Equal(t, "deploy checkout:1", w.Annotations[causeAnnotation])
			require.NotContains(t, string(w.template), kubetest.NeverReady)
		})
	}
}

// freeStatefulSet deletes the broken pod that Kubernetes would wait for for ever, as Observe says
// (Kubernetes' documentation of StatefulSets, "Forced rollback").
func (s *shop) freeStatefulSet(pinned gatekeeper.Target) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		l, err := s.open("").Observe(s.t.Context(), pinned)
		require.NoError(s.t, err)
		return l.Position == gatekeeper.InProgress && strings.Contains(l.Says, "until you delete it")
	}, 10*time.Second, 10*time.Millisecond, "it does not say what to do")
	require.NoError(s.t, control.Admin.Resource(kubetest.Core("pods")).Namespace(s.namespace).Delete(s.t.Context(), "checkout-2", metav1.DeleteOptions{}))
}

func TestClusterPermissionMissing(t *testing.T) {
	s := startShop(t, deployment)
	pinned := s.prepare("")
	s.mayOnlyRead()
	_, err := s.open("").Prepare(t.Context())
	require.ErrorContains(t, err, `"shop-cluster" may not patch deployments in namespace `+s.namespace)
	require.Equal(t, gatekeeper.CodeRefused, gatekeeper.CodeOf(err))
	s.deploy("checkout:2")
	_, err = s.open("").Apply(t.Context(), pinned, "r/1")
	require.ErrorIs(t, err, actions.ErrNoEffect)
	require.ErrorContains(t, err, "Kubernetes refused to change deployment "+s.namespace+"/checkout")

	a, err := bind(s.config, `{"namespace":"kube-system","deployment":"coredns"}`, "")
	require.NoError(t, err)
	_, err = a.Prepare(t.Context())
	require.ErrorContains(t, err, "may not get deployments, patch deployments and list replicasets in namespace kube-system")
}

func TestClusterObjectDeleted(t *testing.T) {
	s := startShop(t, deployment)
	pinned := s.prepare("")
	require.NoError(t, s.workloads().Delete(t.Context(), "checkout", metav1.DeleteOptions{}))
	live, err := s.open("").Observe(t.Context(), pinned)
	require.NoError(t, err)
	require.Equal(t, gatekeeper.Elsewhere, live.Position)
	require.Contains(t, live.Says, "does not exist any more")
	_, err = s.open("").Apply(t.Context(), pinned, "r/1")
	require.ErrorIs(t, err, actions.ErrNoEffect)
	require.Equal(t, gatekeeper.CodeNotFound, gatekeeper.CodeOf(err))
	_, err = s.open("").Prepare(t.Context())
	require.ErrorContains(t, err, "there is no deployment")
}

func TestClusterArgoCDIsSeenByWhatItWrote(t *testing.T) {
	s := startShop(t, deployment)
	require.NotContains(t, s.prepare("").Says, "manages it")
	_, err := s.workloads().Patch(t.Context(), "checkout", types.MergePatchType, []byte(`{"metadata":{"labels":{"app.kubernetes.io/instance":"shop"}}}`), metav1.PatchOptions{FieldManager: "argocd-controller"})
	require.NoError(t, err)
	pinned := s.prepare("")
	require.Contains(t, pinned.Says, "Argo CD manages it and will undo this at its next sync")
	s.deploy("checkout:2")
	receipt, err := s.open("").Apply(t.Context(), pinned, "r/1")
	require.NoError(t, err)
	require.Contains(t, receipt.Says, "Argo CD manages it")
}

// Two undo at once while a third keeps writing: one effect, and nobody's write is lost.
func TestClusterTwoAtOnce(t *testing.T) {
	s := startShop(t, deployment)
	pinned := s.prepare("")
	s.deploy("checkout:2")
	s.rolledOut("checkout:2")
	ctx, stop := context.WithCancel(t.Context())
	var busy, both sync.WaitGroup
	writes := 0
	busy.Go(func() {
		for ctx.Err() == nil {
			body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{"writes": fmt.Sprint(writes + 1)}}})
			if err == nil {
				_, err = s.workloads().Patch(t.Context(), "checkout", types.MergePatchType, body, metav1.PatchOptions{})
			}
			if err == nil {
				writes++
			}
		}
	})
	errs, receipts := make([]error, 2), make([]gatekeeper.Receipt, 2)
	for i := range errs {
		both.Go(func() {
			receipts[i], errs[i] = s.open("").Apply(t.Context(), pinned, gatekeeper.Key(fmt.Sprintf("r/%d", i)))
		})
	}
	both.Wait()
	stop()
	busy.Wait()
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	s.reached(pinned)
	w := s.live()
	effects := 0
	for i, r := range receipts {
		if strings.Contains(r.Says, "was taken from") {
			effects++
			require.Equal(t, fmt.Sprintf("r/%d", i), w.Annotations[keyAnnotation])
		} else {
			require.Contains(t, r.Says, "had image checkout:1 already")
		}
	}
	require.Equal(t, 1, effects)
	require.Positive(t, writes)
	require.Equal(t, fmt.Sprint(writes), w.Annotations["writes"])
}

// proxy passes connections to the API server on, until it hangs or stops.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	open     []net.Conn
	hung     atomic.Bool
	all      sync.WaitGroup
}

func startProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l}
	p.all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, in, out)
			p.mu.Unlock()
			p.all.Go(func() { p.pass(in, out) })
			p.all.Go(func() { p.pass(out, in) })
		}
	})
	t.Cleanup(func() {
		p.stop()
		p.all.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// pass copies until either side ends; while it hangs what comes is lost.
func (p *proxy) pass(from io.ReadCloser, to io.WriteCloser) {
	defer from.Close()
	defer to.Close()
	part := make([]byte, 32<<10)
	for {
		n, err := from.Read(part)
		if err != nil {
			return
		}
		if p.hung.Load() {
			continue
		}
		if _, err := to.Write(part[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) hang() { p.hung.Store(true) }

func (p *proxy) stop() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
}
