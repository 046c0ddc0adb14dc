// Package rehearsal runs releases as the daemon would, on a scripted stage and in virtual time: the
// real engine, with a journal in memory, a backend that fails when the script says so, and rungs
// whose effects are scripted too. Half an hour of release takes some milliseconds. Nothing outside
// of the process is touched.
package rehearsal

import "time"

// Epoch is the instant that a script's times count from, unless it starts later: one day after the
// instant at which testing/synctest begins, so that a script can begin before its time 0.
var Epoch = bubble.Add(lead)

// bubble is when virtual time begins, and lead how far before its time 0 a script may begin.
var bubble = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

const lead = 24 * time.Hour
