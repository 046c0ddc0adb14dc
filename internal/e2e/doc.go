// Package e2e holds the tests of the whole: the real gatekeeper program, driven by its command
// line, between real Prometheus, Alertmanager and HAProxy processes and a shop in two versions
// with steady traffic; and the one that kills it with SIGKILL at random moments of a bad release.
//
// Their configuration stands in testdata, as it would in production; the tests put addresses and
// paths of their own in. Everything listens on loopback only. A program that is not installed skips
// the tests that need it, by name; with CI=true it fails them.
package e2e
