// Package deploy holds no code. Its folders hold what watches and runs Gatekeeper: alerts for Prometheus,
// a dashboard for Grafana, a systemd unit and manifests for Kubernetes. Its tests hold them to the
// metrics that the code has, and to systemd and an API server themselves.
package deploy
