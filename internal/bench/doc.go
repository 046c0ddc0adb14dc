// Package bench measures the whole beside what people use otherwise, on real components: Prometheus,
// Alertmanager, HAProxy, a Kubernetes control plane and the gatekeeper program. It holds benchmarks
// only; docs/benchmarks.md tells the method and what came out.
//
// Both sides of a comparison run in one process, in turn, so that a busy machine slows both. Nothing
// is asserted about times. A program that is not installed skips the benchmarks that need it, by name.
package bench
