package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gatekeeper-engine/gatekeeper"
)

// reserve is the free space, in bytes, below which no commit begins. etcd ends itself when its
// own files can't grow: the log by its next segments of 4 MiB, the database by steps of 16 MiB.
const reserve = 32 << 20

// longestSocket is what the address of a unix socket can hold on every system, in bytes:
// sun_path has 104 on BSD and macOS, 108 on Linux, one of them for the final zero.
const longestSocket = 103

// free gives the free space of the disk, in bytes.
func (s *Server) free() (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil //nolint:unconvert // 32 bits on 32-bit machines
}

// room says whether the disk has space for another commit.
func (s *Server) room() error {
	free, err := s.free()
	if err != nil {
		return unavailable("asking for the free space of "+s.dir, err)
	}
	if free < reserve {
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "Make space on that disk; Gatekeeper goes on by itself then.",
			"the disk of the data directory %s is full: %d MiB are free, %d are needed; %s: %w", s.dir, free>>20, int64(reserve)>>20, meanwhile, syscall.ENOSPC)
	}
	return nil
}

// lockDir makes the directory and locks it for this process; the lock ends with it.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unusable(dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = gatekeeper.Errorf(gatekeeper.CodeUnavailable, "Stop the other Gatekeeper, or give this one a directory of its own.",
				"the data directory %s is in use by another Gatekeeper", dir)
		} else {
			err = unusable(dir, err)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func unusable(dir string, err error) error {
	return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "Make it a directory that this user can write to, or name another one.",
		"the data directory %s can't be written, so no release can be journaled: %w", dir, err)
}

// socketDir makes an empty directory that only this user can enter, with room for the names of
// sockets: below dir, or below the system's temporary directory where dir's name is too long.
func socketDir(dir string) (string, error) {
	run := filepath.Join(dir, "run")
	if len(filepath.Join(run, "client")) <= longestSocket {
		if err := os.RemoveAll(run); err != nil {
			return "", unusable(dir, err)
		}
		if err := os.Mkdir(run, 0o700); err != nil {
			return "", unusable(dir, err)
		}
		return run, nil
	}
	for _, tmp := range []string{os.TempDir(), "/tmp"} {
		run, err := os.MkdirTemp(tmp, "gatekeeper-")
		if err != nil {
			return "", fmt.Errorf("a directory for the store's sockets: %w", err)
		}
		if len(filepath.Join(run, "client")) <= longestSocket {
			return run, nil
		}
		if err := os.Remove(run); err != nil {
			return "", err
		}
	}
	return "", gatekeeper.Errorf(gatekeeper.CodeUnavailable, "Give the data directory a shorter name.",
		"the names of the data directory %s and of the temporary directory are too long for a unix socket", dir)
}
