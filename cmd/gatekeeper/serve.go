package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/api"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
)

func serveCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Serve runs the daemon until it is interrupted. Without a configuration file it serves this machine:
on 127.0.0.1:9095, with its own journal and its own metrics store.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Read(path)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&path, "config", os.Getenv("GATEKEEPER_CONFIG"), "the daemon's configuration, a YAML file (GATEKEEPER_CONFIG); default: none")
	return cmd
}

// run runs the daemon's parts until ctx ends or one of them fails. They end in the order of the
// way in: first the callers, then the engine, then those who are told.
func (d *daemon) run(ctx context.Context, l net.Listener) error {
	g, failing := errgroup.WithContext(ctx)
	background := context.WithoutCancel(ctx)
	forEngine, stopEngine := context.WithCancel(background)
	forTelling, stopTelling := context.WithCancel(background)
	defer stopEngine()
	defer stopTelling()

	g.Go(func() error {
		defer stopEngine()
		return d.serveHTTP(failing, l)
	})
	g.Go(func() error {
		defer stopTelling()
		return d.engine.Run(forEngine)
	})
	g.Go(func() error { return d.people.Run(forTelling) })
	if d.tracer != nil {
		g.Go(func() error { return d.tracer.Run(forTelling) })
	}
	g.Go(func() error { d.reloadAt(failing); return nil })
	g.Go(func() error { d.keeper.Run(failing); return nil })
	g.Go(func() error {
		select {
		case err := <-d.backends.failed:
			return err
		case <-failing.Done():
			return nil
		}
	})
	g.Go(func() error {
		d.manager.Run(failing, ready{d.engine, d.store}.Ready, d.log)
		return nil
	})
	g.Go(func() error {
		select {
		case <-d.store.Failed():
			return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "look at the data directory's disk; open releases are taken up when the daemon starts again",
				"the store gave up, so nothing more can be decided: %w", d.store.Ready())
		case <-failing.Done():
			return nil
		}
	})
	return g.Wait()
}

// serveHTTP serves until ctx ends, then ends the streams and lets calls under way finish for a moment.
func (d *daemon) serveHTTP(ctx context.Context, l net.Listener) error {
	srv := api.Server(&d.face)
	srv.ErrorLog = slog.NewLogLogger(d.log.Handler(), slog.LevelWarn)
	done := make(chan error, 1)
	go func() { done <- d.web.Serve(l, srv, embedded(d.log)) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	d.log.Info("shutting down")
	d.face.end()
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	err := srv.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		d.log.Warn("calls were still under way and are cut off")
		err = srv.Close()
	}
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		return errors.Join(err, served)
	}
	return err
}
