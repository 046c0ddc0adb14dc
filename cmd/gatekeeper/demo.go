package main

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/client"
	"github.com/gatekeeper-engine/gatekeeper/internal/config"
	"github.com/gatekeeper-engine/gatekeeper/internal/demo"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
)

func demoCommand() *cobra.Command {
	var end bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a good and a bad release of a small shop, all on this machine, in about 45 seconds",
		Long: `Demo runs a daemon with a store and metrics of its own, a small shop and its customers, on free
ports of this machine. A good release passes, a bad one is taken back. Nothing is left behind.

With --exit it ends then, and exits with 0 if both releases ended as they should, else with 1.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showDemo(cmd, !end)
		},
	}
	cmd.Flags().BoolVar(&end, "exit", false, "end after the second release, instead of staying up until Ctrl-C")
	return cmd
}

// showDemo runs the demo in a folder that is gone afterwards.
func showDemo(cmd *cobra.Command, stay bool) (err error) {
	dir, err := os.MkdirTemp("", "gatekeeper-demo-")
	if err != nil {
		return gatekeeper.Errorf(gatekeeper.CodeUnavailable, "set TMPDIR to a folder that can be written", "the demo has no place for its data: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	shop, err := demo.OpenShop()
	if err != nil {
		return err
	}
	cfg := config.Parse("demo.yml", dir, demo.Configuration(dir, shop.Addr()))
	show := demo.Config{Traffic: demo.NewTraffic(shop.Addr()), Out: cmd.OutOrStdout(), Color: timelineOptions(cmd).Color}
	d, l, err := start(cmd.Context(), cfg, newLog(cfg.Log, cmd.ErrOrStderr()))
	if err != nil {
		return errors.Join(err, shop.Close())
	}
	return errors.Join(d.perform(cmd.Context(), l, shop, show, stay), d.close())
}

// perform runs the daemon, the shop and its customers until the demo is over.
func (d *daemon) perform(ctx context.Context, l net.Listener, shop *demo.Shop, show demo.Config, stay bool) error {
	ctx, over := context.WithCancel(ctx)
	defer over()
	show.URL = "http://" + l.Addr().String()
	calls, err := httpclient.Config{URL: show.URL}.New("the daemon")
	if err == nil {
		show.Daemon, err = client.New(show.URL, "", calls)
	}
	if err != nil {
		return errors.Join(err, shop.Close(), l.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return shop.Serve(ctx, d.flags) })
	g.Go(func() error { show.Traffic.Run(ctx); return nil })
	g.Go(func() error { return d.run(ctx, l) })
	worked := false
	g.Go(func() (err error) {
		defer over()
		if worked, err = demo.Run(ctx, show); err == nil && stay {
			demo.Stay(ctx, show)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if !worked {
		return exit{exitError}
	}
	return nil
}
