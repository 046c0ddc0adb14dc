// Package gatekeeper holds the words of Gatekeeper's domain and nothing else: a release, the
// facts that make it up, what a rule says of it, and the journal that remembers. It depends on
// the standard library only; every other package depends on it.
//
// A release is its journal of facts. [Release.With] says what one fact does to it and is the
// only way a release changes, so crash recovery, audit, the timeline, explain and replay all
// read the same thing and can't disagree.
package gatekeeper
