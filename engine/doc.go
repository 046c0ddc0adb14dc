// Package engine takes releases from open to their outcome. It is the only place with a clock and
// with effects.
//
// Every open release has a run: one goroutine that owns the release and appends its facts. What
// takes time happens beside it and reports back, so nothing waits for anything it does not need:
// each rule's query is its own job, and so is the ladder. After every event the run takes the step
// of the release's state, which looks at the release, at what is known of its rules and at the
// time, records what follows, and says when to look again.
//
//	open.go      a request becomes a release      run.go     the goroutine and its journal
//	watch.go     slots, gaps and `for` of a rule   steps.go   one step per open state
//	breach.go    which harm stands                 guards.go  what stands between it and a decision
//	ladder.go    rungs: observe, apply, observe    verify.go  is it well again
//	window.go    the end of a release's window     verbs.go   what persons and pipelines ask for
//	alerts.go    alerts that others send          trail.go   what each slot said, for the journal
package engine
