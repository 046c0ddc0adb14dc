package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/actions/builtin"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/etcd"
	"github.com/gatekeeper-engine/gatekeeper/internal/flags"
)

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "store", Short: "Back up, restore, verify and prune the journal and the flags",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(storeSnapshotCommand(), storeRestoreCommand(), storeVerifyCommand(), storePruneCommand())
	return cmd
}

const dataDirUsage = "data directory of a stopped daemon, instead of a running one"

func storeSnapshotCommand() *cobra.Command {
	var at connection
	var dataDir string
	cmd := &cobra.Command{
		Use: "snapshot FILE", Short: "Write a snapshot of a daemon's store to a file",
		Long: `Snapshot writes the store's state at one instant to FILE, with a checksum at its end: from a running
daemon, which needs the scope operate, or from the data directory of a stopped one. The file holds
every release, flag, audit record and pinned health file, and no secrets of the configuration. It is in the format of
etcdctl snapshot save.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := writeSnapshot(cmd.Context(), at, dataDir, args[0]); err != nil {
				return err
			}
			say(cmd, "the snapshot is in %s", args[0])
			return nil
		},
	}
	at.flags(cmd.Flags())
	cmd.Flags().StringVar(&dataDir, "data-dir", "", dataDirUsage)
	return cmd
}

// writeSnapshot writes a snapshot to path, whole or not at all.
func writeSnapshot(ctx context.Context, at connection, dataDir, path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "name a new file", "%s is there already, so no snapshot was taken", path)
	}
	partial := path + ".partial"
	err := fillSnapshot(ctx, at, dataDir, partial)
	if err == nil {
		err = etcd.CheckSnapshot(partial)
	}
	if err == nil {
		return os.Rename(partial, path)
	}
	if gone := os.Remove(partial); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

func fillSnapshot(ctx context.Context, at connection, dataDir, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "name a file in a folder that you can write to", "the snapshot can't be written: %w", err)
	}
	if dataDir == "" {
		err = downloadSnapshot(ctx, at, f)
	} else {
		err = copySnapshot(ctx, dataDir, f)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func downloadSnapshot(ctx context.Context, at connection, w io.Writer) error {
	daemon, err := at.dial()
	if err != nil {
		return err
	}
	return daemon.Snapshot(ctx, w)
}

func copySnapshot(ctx context.Context, dataDir string, w io.Writer) error {
	s, err := openStopped(ctx, storeDir(dataDir))
	if err != nil {
		return err
	}
	in, err := s.Snapshot(ctx)
	if err == nil {
		_, err = io.Copy(w, in)
		err = errors.Join(err, in.Close())
	}
	return errors.Join(err, s.Close())
}

// openStopped starts the store in dir, which nobody uses. Its database is walked before, for etcd
// would end the process over a damaged one.
func openStopped(ctx context.Context, dir string) (*etcd.Server, error) {
	if !etcd.Exists(dir) {
		return nil, gatekeeper.Errorf(gatekeeper.CodeInvalid, "name the data_dir of the daemon's configuration", "there is no store in %s", dir)
	}
	if err := etcd.CheckDatabase(dir); err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	return etcd.Start(ctx, etcd.Options{Dir: dir})
}

func storeRestoreCommand() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make the store of a snapshot in an empty data directory, and verify it",
		Long: `Restore makes the store of a snapshot in a data directory that has none, and verifies it. Releases are
then as they were when the snapshot was taken: a daemon that is started on them goes on with those that
were open. Metrics of embedded backends and the kill switch are not part of a snapshot.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := storeDir(dataDir)
			if err := etcd.Restore(cmd.Context(), args[0], dir, nil); err != nil {
				return err
			}
			say(cmd, "restored into %s", dataDir)
			report, err := verifyDir(cmd.Context(), dir)
			if err != nil {
				return err
			}
			return printReport(cmd, asText, dataDir, report)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", config.DefaultDataDir(), "data directory without a store, to restore into")
	return cmd
}

func storeVerifyCommand() *cobra.Command {
	var at connection
	var out format
	var dataDir, configFile string
	cmd := &cobra.Command{
		Use: "verify [FILE]", Short: "Verify a snapshot, a running daemon's store or a stopped one's",
		Long: `Verify reads a whole store: a snapshot in FILE, without FILE the store of a running daemon (by a
snapshot of it), of a stopped one with --data-dir, or the external etcd of a configuration with
--config. It compares every checksum, decodes every record, replays every release by its facts, and
compares every pinned health file with its hash. It prints what is wrong and exits with 1. A snapshot is
restored into the temporary directory for it, so that place is needed twice.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var report etcd.Report
			var err error
			what := ""
			switch {
			case len(args)+given(dataDir)+given(configFile) > 1:
				return usagef("FILE, --data-dir and --config exclude each other")
			case len(args) == 1:
				what = args[0]
				report, err = verifySnapshot(cmd.Context(), what)
			case dataDir != "":
				what = dataDir
				report, err = verifyDir(cmd.Context(), storeDir(dataDir))
			case configFile != "":
				what = configFile
				report, err = verifyConfigured(cmd.Context(), configFile)
			default:
				what = at.url
				report, err = verifyRunning(cmd.Context(), at)
			}
			if err != nil {
				return err
			}
			return printReport(cmd, out, what, report)
		},
	}
	at.flags(cmd.Flags())
	out.flags(cmd.Flags())
	cmd.Flags().StringVar(&dataDir, "data-dir", "", dataDirUsage)
	cmd.Flags().StringVar(&configFile, "config", "", "configuration of a daemon whose store: is an external etcd, or of a stopped one")
	return cmd
}

func given(s string) int {
	if s == "" {
		return 0
	}
	return 1
}

// verifySnapshot restores a snapshot for a moment, and verifies what came of it.
func verifySnapshot(ctx context.Context, path string) (etcd.Report, error) {
	return inTemporary(func(dir string) (etcd.Report, error) {
		dir = storeDir(dir)
		if err := etcd.Restore(ctx, path, dir, nil); err != nil {
			return etcd.Report{}, err
		}
		return verifyDir(ctx, dir)
	})
}

func verifyRunning(ctx context.Context, at connection) (etcd.Report, error) {
	return inTemporary(func(dir string) (etcd.Report, error) {
		path := filepath.Join(dir, "snapshot")
		if err := writeSnapshot(ctx, at, "", path); err != nil {
			return etcd.Report{}, err
		}
		return verifySnapshot(ctx, path)
	})
}

func inTemporary(f func(dir string) (etcd.Report, error)) (etcd.Report, error) {
	dir, err := os.MkdirTemp("", "gatekeeper-")
	if err != nil {
		return etcd.Report{}, fmt.Errorf("a directory to verify in: %w", err)
	}
	report, err := f(dir)
	return report, errors.Join(err, os.RemoveAll(dir))
}

func verifyDir(ctx context.Context, dir string) (etcd.Report, error) {
	s, err := openStopped(ctx, dir)
	if err != nil {
		return etcd.Report{}, err
	}
	report, err := verifyStore(ctx, s)
	return report, errors.Join(err, s.Close())
}

// configured reads the daemon's configuration at path.
func configured(path string) (settings, error) {
	cfg, err := config.Read(path)
	if err != nil {
		return settings{}, err
	}
	registry, err := builtin.Registry(nil)
	if err != nil {
		return settings{}, err
	}
	return decode(cfg, registry)
}

func verifyConfigured(ctx context.Context, path string) (etcd.Report, error) {
	s, err := configured(path)
	if err != nil {
		return etcd.Report{}, err
	}
	if s.external == nil {
		return verifyDir(ctx, storeDir(s.DataDir))
	}
	starting, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	x, err := etcd.Connect(starting, *s.external, nil)
	if err != nil {
		return etcd.Report{}, err
	}
	report, err := verifyStore(ctx, x)
	return report, errors.Join(err, x.Close())
}

func verifyStore(ctx context.Context, s store) (etcd.Report, error) {
	return etcd.Verify(ctx, s.Client(), map[string]etcd.Check{flags.Prefix: flags.CheckStored})
}

// printReport prints what was found; anything wrong is exit code 1.
func printReport(cmd *cobra.Command, out format, what string, r etcd.Report) error {
	if done, err := out.machine(cmd.OutOrStdout(), r); err != nil {
		return err
	} else if !done {
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "%s: %s (%d open), %s, %s, %s, %s, at revision %d\n", what, counted(r.Releases, "release"), r.Open,
			counted(r.Facts, "fact"), counted(r.Files, "pinned file"), counted(r.Audits, "audit record"), counted(r.Others, "flag"), r.Revision)
		for _, f := range r.Faults {
			fmt.Fprintf(w, "  %s\n    %s\n", f.Key, f.Says)
		}
		if len(r.Faults) == 0 {
			fmt.Fprintln(w, "everything is as it was written")
		} else {
			fmt.Fprintf(w, "%s: releases they belong to are not acted upon; restore a snapshot\n", counted(len(r.Faults), "fault"))
		}
	}
	if len(r.Faults) > 0 {
		return exit{exitError}
	}
	return nil
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
