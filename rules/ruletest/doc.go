// Package ruletest runs tests of rules and of whole releases: files in the format of promtool test
// rules, as they are and with the same results, and beside that what promtool has no words for, what a
// release does when the metrics say so. Rules are evaluated by the product's own code, and releases run
// in the real engine, in virtual time.
package ruletest
