// Package oracle holds a test only: rules and random series go through Gatekeeper's evaluation and
// through Prometheus's own (rules.AlertingRule), and both must say the same at every slot. It is a
// module of its own, so that the product does not carry Prometheus's rules package.
//
//	go test ./... -oracle.cases 20000 -oracle.seed 7
//
// Groups with recording rules go through Prometheus's own evaluation of a group (rules.Group), which keeps
// what they record, and through ours, which keeps nothing.
//
// Where a release must not do what Prometheus does, a test of the package shows the difference:
// time that nobody answered for, the extra look at the end of `for`, a group's limit, what
// a template can do with a native histogram, and how much work templates may be.
package oracle
