package rehearsal

import (
	"fmt"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

// virtually runs f in a bubble of testing/synctest: time stands still while anything in it works,
// and jumps to the next timer when all of it waits. A panic of f, and goroutines that f leaves
// behind and that nothing can ever wake, are errors. A panic of another goroutine ends the process, as
// everywhere in Go.
//
// synctest belongs to tests, so it wants a *testing.T; ADR 0007 says why a program gives it an empty
// one. Such a T has no parent to report to, so f must never fail it: f does not get it.
func virtually(f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("virtual time came to a stop: %v", p)
		}
	}()
	var inside error
	synctest.Test(&testing.T{}, func(*testing.T) {
		defer func() {
			if p := recover(); p != nil {
				inside = fmt.Errorf("panic in virtual time: %v\n%s", p, debug.Stack())
			}
		}()
		f()
	})
	return inside
}

// settled sleeps until an instant, and then until all that it started has come to rest.
func settled(at time.Time) {
	time.Sleep(time.Until(at))
	synctest.Wait()
}
