package kubernetes

import "strings"

// managers are the field managers that tools write their objects as.
var managers = map[string]string{
	"argocd-controller":             "Argo CD",
	"argocd-application-controller": "Argo CD",
	"kustomize-controller":          "Flux",
	"helm-controller":               "Flux",
}

const (
	argoPrefix = "argocd.argoproj.io/"
	fluxPrefix = ".toolkit.fluxcd.io/"
)

// gitops names the tool that keeps the object as it stands in git and would undo an undo; "" if
// there is none, or if it was told to leave this object alone.
func (w *workload) gitops() string {
	for key, value := range w.Annotations {
		if strings.HasSuffix(key, fluxPrefix+"reconcile") && value == "disabled" {
			return ""
		}
	}
	for _, marks := range []map[string]string{w.Labels, w.Annotations} {
		for key := range marks {
			switch {
			case strings.HasPrefix(key, argoPrefix):
				return "Argo CD"
			case strings.Contains(key, fluxPrefix):
				return "Flux"
			}
		}
	}
	// Argo CD by its default marks objects with app.kubernetes.io/instance only, which Helm uses
	// as well, so who wrote the object tells.
	for _, entry := range w.ManagedFields {
		if tool, ok := managers[entry.Manager]; ok {
			return tool
		}
	}
	return ""
}

// warning says what becomes of an undo; "" where nobody undoes it.
func (w *workload) warning() string {
	tool := w.gitops()
	if tool == "" {
		return ""
	}
	return "; " + tool + " manages it and will undo this at its next sync unless that is suspended: revert in git as well"
}
