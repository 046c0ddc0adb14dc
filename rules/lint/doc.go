// Package lint finds rules that load and still don't say what their author means, or what a release
// needs. Each check stands in a file of its own, has a stable name, and a page in docs/checks.
//
// [Check] reads a bundle and runs every check on it; with a [Backend] it asks the metrics too. A
// finding is a [rules.Problem]: its place, what is wrong, why that matters to a release, and the
// expression as it could stand instead, which [Fix] writes into the file where that is safe.
package lint
