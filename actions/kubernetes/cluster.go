package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// manager is what Gatekeeper writes as in an object's managedFields.
const manager = "gatekeeper"

// cluster is where a connection leads. Credentials are read anew for each call, so that rotated
// ones are taken up.
type cluster struct{ connection, kubeconfig, context string }

// client gives what calls go through, and what lets go of its connections. Calls go to the API server that
// the connection names, through the proxy that its kubeconfig names, and nowhere else: not where an answer
// redirects to, nor through a proxy of the environment.
func (c cluster) client() (api dynamic.Interface, over func(), err error) {
	config, err := c.config()
	if err != nil {
		return nil, nil, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "correct the connection in the daemon's configuration, or the file it names",
			"connection %q: %w", c.connection, err)
	}
	config.UserAgent = "gatekeeper"
	config.QPS = -1 // the caller paces itself, and nothing may stand in the way of a rollback
	config.WarningHandlerWithContext = rest.NoWarnings{}
	if config.Proxy == nil {
		config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, nil, gatekeeper.Errorf(gatekeeper.CodeUnavailable, "see whether the files that the kubeconfig names are there",
			"connection %q: %w", c.connection, err)
	}
	// With the files' contents instead of their names client-go starts nothing that watches them.
	config.CAFile, config.CertFile, config.KeyFile = "", "", ""
	calls, err := rest.HTTPClientFor(config)
	if err == nil {
		calls.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		api, err = dynamic.NewForConfigAndClient(config, calls)
	}
	if err != nil {
		return nil, nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "correct the kubeconfig", "connection %q: %w", c.connection, err)
	}
	return api, func() { utilnet.CloseIdleConnectionsFor(calls.Transport) }, nil
}

func (c cluster) config() (*rest.Config, error) {
	if c.kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("Gatekeeper does not run in a cluster, and no kubeconfig is named")
		}
		return config, err
	}
	// What loads and decides at once would take the pod's own cluster for a file that is empty yet.
	file, err := (&clientcmd.ClientConfigLoadingRules{ExplicitPath: c.kubeconfig}).Load()
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.NewDefaultClientConfig(*file, &clientcmd.ConfigOverrides{CurrentContext: c.context}).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("the kubeconfig %s names no cluster", c.kubeconfig)
	}
	return config, err
}

// read gives an object as it is now.
func read(ctx context.Context, api dynamic.Interface, o object) (*workload, error) {
	got, err := api.Resource(o.kind.resource).Namespace(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	if err != nil {
		return nil, failed("read", o, err)
	}
	return workloadOf(o, got)
}

// patch changes an object, unless the operations hold a resourceVersion that it no longer has. With
// try nothing is changed; the server answers what it would be.
func patch(ctx context.Context, api dynamic.Interface, o object, operations []operation, try bool) (*workload, error) {
	body, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("patch of %s: %w", o, err)
	}
	options := metav1.PatchOptions{FieldManager: manager}
	if try {
		options.DryRun = []string{metav1.DryRunAll}
	}
	got, err := api.Resource(o.kind.resource).Namespace(o.Namespace).Patch(ctx, o.Name, types.JSONPatchType, body, options)
	if err != nil {
		return nil, err
	}
	return workloadOf(o, got)
}

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

var reviews = schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"}

// access asks whether the credentials may do what the action needs, and says all that they may not.
func access(ctx context.Context, api dynamic.Interface, c cluster, o object) error {
	type need struct{ verb, resource, name string }
	var missing []string
	for _, n := range []need{
		{"get", o.kind.resource.Resource, o.Name},
		{"patch", o.kind.resource.Resource, o.Name},
		{"list", o.kind.history.Resource, ""},
	} {
		asked := map[string]any{"namespace": o.Namespace, "verb": n.verb, "group": "apps", "resource": n.resource}
		if n.name != "" {
			asked["name"] = n.name
		}
		answer, err := api.Resource(reviews).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
			"spec": map[string]any{"resourceAttributes": asked},
		}}, metav1.CreateOptions{})
		if err != nil {
			return failed("ask for permissions on", o, err)
		}
		allowed, _, err := unstructured.NestedBool(answer.Object, "status", "allowed")
		if err != nil {
			return fmt.Errorf("answer to a SelfSubjectAccessReview: %w", err)
		}
		if !allowed {
			missing = append(missing, n.verb+" "+n.resource)
		}
	}
	if len(missing) > 0 {
		return gatekeeper.Errorf(gatekeeper.CodeRefused, "grant it with a Role such as the one in deploy/kubernetes/rbac.yaml",
			"connection %q may not %s in namespace %s, so %s could not be taken back", c.connection, list(missing), o.Namespace, o)
	}
	return nil
}

// failed says what a call's error means for the release.
func failed(what string, o object, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return gatekeeper.Errorf(gatekeeper.CodeNotFound, "correct the name, or create the object again",
			"there is no %s: %w", o, err)
	case apierrors.IsForbidden(err):
		return gatekeeper.Errorf(gatekeeper.CodeRefused, "grant it with a Role such as the one in deploy/kubernetes/rbac.yaml, or see what the admission webhook wants",
			"Kubernetes refused to %s %s: %w", what, o, err)
	case apierrors.IsUnauthorized(err):
		return gatekeeper.Errorf(gatekeeper.CodeRefused, "renew the credentials of the connection",
			"Kubernetes did not accept the connection's credentials to %s %s: %w", what, o, err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return gatekeeper.Errorf(gatekeeper.CodeConflict, "see what it says and take the release back by hand",
			"Kubernetes would not %s %s: %w", what, o, err)
	default:
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "see whether the API server can be reached from here",
			"Kubernetes could not be asked to %s %s: %w", what, o, err)
	}
}

// rejected says whether the error of a change certainly means that nothing was changed: the
// server answered that it did not take it, or was never reached.
func rejected(err error) bool {
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
		code := status.Status().Code
		return code >= 400 && code < 500 && code != 408
	}
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial"
}

func noEffect(err error) error {
	if err == nil || errors.Is(err, actions.ErrNoEffect) {
		return err
	}
	return fmt.Errorf("%w (%w)", err, actions.ErrNoEffect)
}
