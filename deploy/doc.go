// Package deploy holds no code. Its folders hold what watches and runs Gatekeeper: alerts for Prometheus
// and a dashboard for Grafana. Its tests hold them to the metrics that the code has.
package deploy
