package main

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/pflag"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/rules"
	"github.com/gatekeeper-engine/gatekeeper/rules/backtest"
)

// past is where past releases come from.
type past struct {
	daemon               connection
	journal              bool
	dataDir, snapshot    string
	list                 string
	find, metric         string
	service, environment string
	since                string
}

func (p *past) flags(f *pflag.FlagSet) {
	p.daemon.flags(f)
	f.BoolVar(&p.journal, "journal", false, "past releases are those of a running daemon")
	f.StringVar(&p.dataDir, "data-dir", "", dataDirUsage)
	f.StringVar(&p.snapshot, "snapshot", "", "snapshot of a store to read, instead of a running daemon")
	f.StringVar(&p.list, "releases", "", "CSV or JSON file of past releases")
	f.StringVar(&p.find, "find", "", "label whose values are the versions: past releases are its changes in --metric")
	f.StringVar(&p.metric, "metric", "", "selector of the series that carry the label, for --find")
	f.StringVar(&p.service, "service", "", "the service of releases that --find finds, where the health file names none")
	f.StringVar(&p.environment, "environment", "", "their environment")
	f.StringVar(&p.since, "since", "30d", "how far back to look for releases, in the journal and with --find")
}

// read gives the past releases, in no order.
func (p *past) read(ctx context.Context, q rules.Querier) ([]backtest.Release, error) {
	stored := given(p.dataDir) + given(p.snapshot)
	sources := given(p.list) + given(p.find)
	if p.journal || stored > 0 {
		sources++
	}
	switch {
	case sources != 1:
		return nil, usagef("say where past releases come from: one of --journal, --releases and --find")
	case stored > 1:
		return nil, usagef("--data-dir and --snapshot exclude each other")
	case (p.find == "") != (p.metric == ""):
		return nil, usagef("--find and --metric belong together")
	}
	since, err := model.ParseDuration(p.since)
	if err != nil || since <= 0 {
		return nil, usagef("--since %q is no duration, such as 30d", p.since)
	}
	now := time.Now()
	from := now.Add(-time.Duration(since))
	switch {
	case p.list != "":
		return backtest.ReadList(p.list)
	case p.find != "":
		return p.found(ctx, q, from, now)
	}
	list, err := p.journaled(ctx, from)
	return backtest.Journaled(list), err
}

func (p *past) found(ctx context.Context, q rules.Querier, from, now time.Time) ([]backtest.Release, error) {
	list, err := backtest.Find(ctx, q, p.find, p.metric, from.Truncate(time.Second), now.Truncate(time.Second))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, gatekeeper.Errorf(gatekeeper.CodeNotFound, "look at the selector, and look further back with --since",
			"no value of the label %q began in %s since %s", p.find, p.metric, from.UTC().Format(time.RFC3339))
	}
	for i := range list {
		list[i].Service, list[i].Environment = p.service, p.environment
	}
	return list, nil
}

// journaled gives the releases of the journal that were opened since from, newest first.
func (p *past) journaled(ctx context.Context, from time.Time) (list []gatekeeper.Release, err error) {
	read := func(journal gatekeeper.Journal) (err error) {
		list, err = listJournal(ctx, journal, from)
		return err
	}
	switch {
	case p.dataDir != "":
		return list, inStore(ctx, storeDir(p.dataDir), read)
	case p.snapshot != "":
		return list, inSnapshot(ctx, p.snapshot, read)
	}
	daemon, err := p.daemon.dial()
	if err != nil {
		return nil, err
	}
	return pages(from, func(after string) ([]gatekeeper.Release, string, error) {
		page, err := daemon.List(ctx, gatekeeper.Listing{Limit: 200, After: after})
		return page.Releases, page.Next, err
	})
}

func listJournal(ctx context.Context, journal gatekeeper.Journal, from time.Time) ([]gatekeeper.Release, error) {
	return pages(from, func(after string) ([]gatekeeper.Release, string, error) {
		ids, err := journal.List(ctx, gatekeeper.Listing{Limit: 200, After: after})
		if err != nil || len(ids) == 0 {
			return nil, "", err
		}
		var page []gatekeeper.Release
		for _, id := range ids {
			facts, err := journal.Facts(ctx, id)
			if err != nil {
				return nil, "", err
			}
			r, err := gatekeeper.Replay(id, facts)
			if err != nil {
				return nil, "", err
			}
			page = append(page, r)
		}
		return page, ids[len(ids)-1], nil
	})
}

// pages reads pages of releases, newest first, until those before from.
func pages(from time.Time, read func(after string) ([]gatekeeper.Release, string, error)) ([]gatekeeper.Release, error) {
	var all []gatekeeper.Release
	for after := ""; ; {
		page, next, err := read(after)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		old := slices.ContainsFunc(page, func(r gatekeeper.Release) bool { return r.OpenedAt.Before(from) })
		if next == "" || old {
			return slices.DeleteFunc(all, func(r gatekeeper.Release) bool { return r.OpenedAt.Before(from) }), nil
		}
		after = next
	}
}
