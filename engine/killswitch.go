package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gatekeeper-engine/gatekeeper"
)

// killSwitch is a file: while it exists, every rollback is held. The API and the CLI write the
// same file that a person can touch by hand, so the switch works when the store does not, and
// outlives a restart. Without a path it lives in memory only.
type killSwitch struct {
	path string

	mu     sync.Mutex
	memory KillSwitch // what was set when there is no file, or when it could not be written
}

const killSwitchLook = time.Second // how often the file is looked at

func newKillSwitch(path string) *killSwitch { return &killSwitch{path: path} }

func (k *killSwitch) state() KillSwitch {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.memory.On || k.path == "" {
		return k.memory
	}
	data, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return KillSwitch{}
	}
	on := KillSwitch{On: true, Why: "the file " + k.path + " exists"}
	if err != nil {
		on.Why += ", and can't be read: " + err.Error()
		return on
	}
	var written KillSwitch
	if json.Unmarshal(data, &written) == nil && written.Actor != "" {
		written.On = true
		return written
	}
	if info, err := os.Stat(k.path); err == nil {
		on.Since = info.ModTime().UTC()
	}
	return on
}

func (k *killSwitch) set(on bool, by By, now time.Time) (KillSwitch, error) {
	k.mu.Lock()
	next := KillSwitch{}
	if on {
		next = KillSwitch{On: true, Actor: by.Actor, Why: by.Why, Since: now.UTC()}
	}
	k.memory = next
	var err error
	if k.path != "" {
		err = k.write(next)
		if err == nil {
			k.memory = KillSwitch{}
		}
	}
	k.mu.Unlock()
	if err != nil {
		return k.state(), gatekeeper.Errorf(gatekeeper.CodeUnavailable, "check the file and its folder's permissions and space",
			"the kill switch's file can't be changed; it is %s in this process only, until it restarts: %w", onOff(k.state().On), err)
	}
	return k.state(), nil
}

func (k *killSwitch) write(s KillSwitch) error {
	if !s.On {
		err := os.Remove(k.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(k.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// watch calls changed whenever the switch was turned, until ctx ends.
func (k *killSwitch) watch(ctx context.Context, changed func()) {
	if k.path == "" {
		return
	}
	go func() {
		tick := time.NewTicker(killSwitchLook)
		defer tick.Stop()
		was := k.state().On
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if is := k.state().On; is != was {
					was = is
					changed()
				}
			}
		}
	}()
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
