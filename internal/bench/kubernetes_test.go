package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/gatekeeper-engine/gatekeeper/actions"
	"github.com/gatekeeper-engine/gatekeeper/actions/kubernetes"
	"github.com/gatekeeper-engine/gatekeeper/internal/kubetest"
)

const (
	undos    = 10
	replicas = 5
)

const shopManifest = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout, namespace: shop}
spec:
  replicas: %d
  selector: {matchLabels: {app: checkout}}
  template:
    metadata: {labels: {app: checkout}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: "checkout:1"}]}
`

const undoFile = `
service: service-%d
window: 30m
groups:
  - name: g
    rules:
      - alert: R
        expr: errors{version="${version}"} > 1
rollback:
  - action: kubernetes/rollout-undo
    connection: cluster
    with: {namespace: shop, deployment: checkout}
`

// BenchmarkKubernetesDecisionToTarget tells the time from a decision to a Deployment of five replicas
// rolled back and available, on a real control plane: by the engine, by its action alone, looking
// each 5 ms, by hand with kubectl, and by client-go's patch and a watch until the rollout is complete.
func BenchmarkKubernetesDecisionToTarget(b *testing.B) {
	assets, ok := kubetest.Assets()
	if !ok {
		b.Skip("no Kubernetes control plane: make bench finds the one that make test-kubernetes has built")
	}
	program, err := exec.LookPath(filepath.Join(assets, "kubectl"))
	if err != nil {
		b.Skip("no kubectl beside the control plane: make test-kubernetes builds it")
	}
	cluster, err := kubetest.Start(assets)
	require.NoError(b, err)
	b.Cleanup(cluster.Stop)
	s := startCheckout(b, cluster)
	k := kubectl{b: b, program: program, config: cluster.AdminKubeconfig, cache: b.TempDir()}
	k.run("rollout", "status", "deployment/checkout") // so that what it caches of the API is there
	e := runEngine(b, well{}, map[string]actions.Connection{"cluster": s.connection}, kubernetes.Specs()...)
	action := openAction(b, s.connection, "kubernetes/rollout-undo", `{"namespace":"shop","deployment":"checkout"}`, kubernetes.Specs()...)

	ways := []func(i int) time.Duration{
		func(i int) time.Duration { // the engine
			r, err := e.Open(b.Context(), openFile(fmt.Sprintf(undoFile, i)))
			require.NoError(b, err)
			s.rollOut("checkout:2")
			return decisionToTarget(b, e, r.ID)
		},
		func(int) time.Duration { // the action
			pinned, err := action.Prepare(b.Context())
			require.NoError(b, err)
			s.rollOut("checkout:2")
			return applied(b, action, pinned, 5*time.Millisecond)
		},
		func(int) time.Duration { // by hand
			s.rollOut("checkout:2")
			start := time.Now()
			k.run("rollout", "undo", "deployment/checkout")
			k.run("rollout", "status", "deployment/checkout")
			took := time.Since(start)
			require.Equal(b, "checkout:1", k.run("get", "deployment/checkout", "-o", "jsonpath={.spec.template.spec.containers[0].image}"))
			return took
		},
		func(int) time.Duration { // by the library, with no process and no discovery
			s.rollOut("checkout:2")
			return s.rollOut("checkout:1")
		},
	}
	times := make([]spread, len(ways))
	for batch := 0; b.Loop(); batch++ {
		for i := range undos {
			for w, way := range ways {
				times[w] = append(times[w], way(batch*undos+i))
			}
		}
	}
	for w, name := range []string{"engine", "action", "kubectl", "client-go"} {
		report(b, times[w].median(), name+"-p50")
		report(b, times[w].at(1), name+"-max")
	}
	ratio(b, times[0], times[2], "engine/kubectl")
	ratio(b, times[1], times[2], "action/kubectl")
	ratio(b, times[0], times[3], "engine/client-go")
	ratio(b, times[1], times[3], "action/client-go")
}

// kubectl is the program, as an administrator of the cluster in the shop's namespace.
type kubectl struct {
	b                      *testing.B
	program, config, cache string
}

// run gives what kubectl says.
func (k kubectl) run(args ...string) string {
	k.b.Helper()
	cmd := exec.Command(k.program, append([]string{"--kubeconfig", k.config, "--cache-dir", k.cache, "--namespace", "shop"}, args...)...)
	said, err := cmd.CombinedOutput()
	require.NoError(k.b, err, "%s", said)
	return string(said)
}

// checkout is a Deployment and the connection to it with the permissions that the manual gives.
type checkout struct {
	b          *testing.B
	api        dynamic.ResourceInterface
	connection actions.Connection
}

func startCheckout(b *testing.B, cluster *kubetest.Cluster) *checkout {
	b.Helper()
	manifest, err := os.ReadFile("../../deploy/kubernetes/rbac.yaml")
	require.NoError(b, err)
	require.NoError(b, cluster.Apply(b.Context(), fmt.Sprintf(shopManifest, replicas)))
	require.NoError(b, cluster.Apply(b.Context(), strings.TrimSpace(string(manifest))))
	token, err := cluster.Token(b.Context(), "gatekeeper", "gatekeeper")
	require.NoError(b, err)
	config := filepath.Join(b.TempDir(), "kubeconfig")
	require.NoError(b, cluster.Kubeconfig(config, cluster.Address, token))
	settings, err := json.Marshal(map[string]any{"kubeconfig": config})
	require.NoError(b, err)
	s := &checkout{
		b: b, api: cluster.Admin.Resource(kubetest.Apps("deployments")).Namespace("shop"),
		connection: actions.Connection{Name: "cluster", Kind: kubernetes.Kind, Settings: settings},
	}
	s.rollOut("checkout:0")
	s.rollOut("checkout:1")
	return s
}

// rollOut patches the image and gives the time until a watch shows the rollout complete.
func (s *checkout) rollOut(image string) time.Duration {
	s.b.Helper()
	start := time.Now()
	patched, err := s.api.Patch(s.b.Context(), "checkout", types.StrategicMergePatchType,
		[]byte(fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"app","image":%q}]}}}}`, image)), metav1.PatchOptions{FieldManager: "bench"})
	require.NoError(s.b, err)
	seen, err := s.api.Watch(s.b.Context(), metav1.ListOptions{FieldSelector: "metadata.name=checkout", ResourceVersion: patched.GetResourceVersion()})
	require.NoError(s.b, err)
	defer seen.Stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		select {
		case event := <-seen.ResultChan():
			if o, ok := event.Object.(*unstructured.Unstructured); ok && rolledOut(o, patched.GetGeneration()) {
				return time.Since(start)
			}
		case <-limit.C:
			require.Fail(s.b, "not rolled out", image)
		}
	}
}

// rolledOut says what kubectl rollout status waits for.
func rolledOut(o *unstructured.Unstructured, generation int64) bool {
	count := func(name string) int64 {
		n, _, _ := unstructured.NestedInt64(o.Object, "status", name) // missing is 0
		return n
	}
	return count("observedGeneration") >= generation && count("updatedReplicas") == replicas &&
		count("replicas") == replicas && count("availableReplicas") == replicas
}
