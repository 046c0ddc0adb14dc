// Package recorded evaluates the recording rules of a health file where somebody asks for what they
// record, and writes nothing: it stands between a PromQL engine and a store, and answers a selector of a
// recorded name by evaluating the rule at the instants at which a Prometheus would have evaluated it.
//
// So a release that opened a moment ago has recorded series as far back as the store has samples, two
// releases whose files record the same name don't see each other's, and a slot that is asked again is
// answered as it was the first time.
package recorded
