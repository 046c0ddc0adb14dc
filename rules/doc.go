// Package rules reads health files and Prometheus rule files, and judges their rules.
//
// The way of a rule: a [Bundle] is the health file's text with its rule files; [Load] reads it
// strictly into a [File] and tells every problem with its position; [File.Bind] puts the release's
// values where the file has variables; [BoundRule.Judge] asks a [Querier] what the rule says at an
// instant and gives a reading: a verdict with its evidence. [Parse] gives what a linter needs, which is
// package lint below.
//
// Nothing here reads a clock but to measure how long an answer took: time is an argument.
package rules
