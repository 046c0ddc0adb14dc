package webhooks

import (
	"maps"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper/internal/signature"
)

const maxReplays = 10000 // signatures remembered of one sender

// replay is what is known of a signature that has come.
type replay int

const (
	replayNew  replay = iota // never seen, or what it asked for was not done
	replayBusy               // being done right now, or there is no room to remember it
	replayDone
)

// replays remembers the signatures of requests that were done, for as long as they would be taken
// as fresh. After a restart it knows none: then the release's state is what stops a replay.
type replays struct {
	mu   sync.Mutex
	seen map[string]seen
}

// replaysOf gives what is remembered of a sender.
func (w *Webhooks) replaysOf(sender string) *replays {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.replays[sender] == nil {
		w.replays[sender] = &replays{seen: map[string]seen{}}
	}
	return w.replays[sender]
}

type seen struct {
	done  bool
	until time.Time
}

// begin says what is known of a signature; a new one is being done until end is called.
func (r *replays) begin(mark string, now time.Time) replay {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.seen[mark]; ok && (!s.done || now.Before(s.until)) {
		if s.done {
			return replayDone
		}
		return replayBusy
	}
	if len(r.seen) >= maxReplays {
		maps.DeleteFunc(r.seen, func(_ string, s seen) bool { return s.done && !now.Before(s.until) })
	}
	if len(r.seen) >= maxReplays {
		return replayBusy
	}
	r.seen[mark] = seen{}
	return replayNew
}

// end tells whether what the signature's request asked for was done.
func (r *replays) end(mark string, done bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !done {
		delete(r.seen, mark)
		return
	}
	// The sender's clock may be ahead by a window, and the signature is good for another.
	r.seen[mark] = seen{done: true, until: now.Add(2*signature.Window + time.Second)}
}
