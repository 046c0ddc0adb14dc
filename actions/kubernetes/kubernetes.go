// Package kubernetes takes a Deployment, a StatefulSet or a DaemonSet back to an earlier pod
// template, as `kubectl rollout undo` does, and follows the rollout, as `kubectl rollout status`
// does. It reads and writes objects as the server gives them, so fields that this program's
// version of Kubernetes' types doesn't know survive.
package kubernetes

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions"
)

// Kind is the kind of connection that the actions of this package need.
const Kind = "kubernetes"

type connection struct {
	Kubeconfig string   `json:"kubeconfig" doc:"absolute path of a kubeconfig file; without it, the service account of the pod that Gatekeeper runs in"`
	Context    string   `json:"context" doc:"the kubeconfig's context; without it, its current one"`
	Namespaces []string `json:"namespaces" doc:"the namespaces that health files may name; without it, all that the credentials reach"`
}

// Validate checks what can be checked without reading the kubeconfig.
func (c *connection) Validate() error {
	if c.Kubeconfig != "" && !filepath.IsAbs(c.Kubeconfig) {
		return actions.Problem{Path: []string{"kubeconfig"}, Says: "want an absolute path"}
	}
	if c.Context != "" && c.Kubeconfig == "" {
		return actions.Problem{Path: []string{"context"}, Says: "needs kubeconfig, which holds the contexts"}
	}
	for i, name := range c.Namespaces {
		if said := utilvalidation.IsDNS1123Label(name); len(said) > 0 {
			return actions.Problem{Path: []string{"namespaces", fmt.Sprint(i)}, Says: "is no name of a namespace"}
		}
	}
	return nil
}

type settings struct {
	Namespace   string `json:"namespace" required:"true" doc:"where the object is"`
	Deployment  string `json:"deployment" doc:"name of the Deployment to take back"`
	StatefulSet string `json:"statefulset" doc:"name of the StatefulSet to take back"`
	DaemonSet   string `json:"daemonset" doc:"name of the DaemonSet to take back"`
}

// Validate wants exactly one object, with a name that can be one.
func (s *settings) Validate() error {
	if said := utilvalidation.IsDNS1123Label(s.Namespace); len(said) > 0 {
		return actions.Problem{Path: []string{"namespace"}, Says: "is no name of a namespace"}
	}
	var named []string
	for setting, name := range map[string]string{"deployment": s.Deployment, "statefulset": s.StatefulSet, "daemonset": s.DaemonSet} {
		if name == "" {
			continue
		}
		named = append(named, setting)
		if said := validation.NameIsDNSSubdomain(name, false); len(said) > 0 {
			return actions.Problem{Path: []string{setting}, Says: "is no name of an object"}
		}
	}
	if len(named) != 1 {
		slices.Sort(named)
		return errors.New("want exactly one of deployment, statefulset and daemonset" + map[bool]string{true: ", not " + strings.Join(named, " and ")}[len(named) > 1])
	}
	return nil
}

// object gives what the settings name.
func (s *settings) object() object {
	switch {
	case s.Deployment != "":
		return object{kind: deployment, Namespace: s.Namespace, Name: s.Deployment}
	case s.StatefulSet != "":
		return object{kind: statefulSet, Namespace: s.Namespace, Name: s.StatefulSet}
	default:
		return object{kind: daemonSet, Namespace: s.Namespace, Name: s.DaemonSet}
	}
}

// Specs gives the actions of this package.
func Specs() []actions.Spec {
	return []actions.Spec{
		actions.Define("kubernetes/rollout-undo",
			"Takes a Deployment, a StatefulSet or a DaemonSet back to the pod template found at open, "+
				"or with return_to: previous to the one before the live one, and waits for the rollout. "+
				"Replicas and everything beside the pod template stay as they are.",
			gatekeeper.ByTarget, open).WithConnection(Kind, connection{}).WithPrevious(),
	}
}

func open(s settings, b actions.Binding) (actions.Action, error) {
	var c connection
	if err := b.Connection.Decode(&c); err != nil {
		return nil, err
	}
	if len(c.Namespaces) > 0 && !slices.Contains(c.Namespaces, s.Namespace) {
		return nil, gatekeeper.Errorf(gatekeeper.CodeRefused, "ask the operator to allow the namespace",
			"connection %q allows nothing in namespace %s", b.Connection.Name, s.Namespace)
	}
	return &undo{
		object:   s.object(),
		cluster:  cluster{connection: b.Connection.Name, kubeconfig: c.Kubeconfig, context: c.Context},
		previous: b.ReturnTo == "previous",
	}, nil
}
