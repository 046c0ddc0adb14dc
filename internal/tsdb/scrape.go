package tsdb

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"go.yaml.in/yaml/v3"
)

// Caps on one scrape: a target is half trusted, and one that goes wild fails its own scrapes only.
const (
	maxScrapeBody    = "64MB"
	maxScrapeSamples = 200_000
	maxLabels        = 64
	maxLabelName     = 256
	maxLabelValue    = 4096
)

// healthEvery is how often targets are looked at for the log.
const healthEvery = time.Second

// scraper is Prometheus's scrape manager with static targets.
type scraper struct {
	manager *scrape.Manager
	targets map[string][]*targetgroup.Group // by pool
	log     *slog.Logger
}

func newScraper(jobs []Job, into storage.AppendableV2, log *slog.Logger, reg prometheus.Registerer) (*scraper, error) {
	manager, err := scrape.NewManager(&scrape.Options{DiscoveryReloadOnStartup: true},
		log.With("component", "scrape"), nil, nil, into, reg)
	if err != nil {
		return nil, fmt.Errorf("the scraper can't be made: %w", err)
	}
	s := &scraper{manager: manager, targets: map[string][]*targetgroup.Group{}, log: log}
	var pools []map[string]any
	for i, j := range jobs {
		// Entries may share a job, pools may not share a name: the job is a label of the targets.
		pool := fmt.Sprintf("%s/%d", j.Name, i)
		pools = append(pools, map[string]any{
			"job_name": pool, "scrape_interval": j.Interval.String(), "scrape_timeout": j.Timeout.String(),
			"metrics_path": j.MetricsPath, "scheme": j.Scheme,
			"follow_redirects": false, // a target is half trusted: it must not send the daemon elsewhere
		})
		s.targets[pool] = []*targetgroup.Group{j.group(pool)}
	}
	// The manager takes nothing but what Prometheus's own loader made.
	text, err := yaml.Marshal(map[string]any{
		"global": map[string]any{
			"body_size_limit": maxScrapeBody, "sample_limit": maxScrapeSamples, "label_limit": maxLabels,
			"label_name_length_limit": maxLabelName, "label_value_length_limit": maxLabelValue,
		},
		"scrape_configs": pools,
	})
	if err != nil {
		return nil, err
	}
	loaded, err := config.Load(string(text), log)
	if err != nil {
		return nil, invalid("", "scrape: %v", err)
	}
	if err := manager.ApplyConfig(loaded); err != nil {
		return nil, invalid("", "scrape: %v", err)
	}
	return s, nil
}

func (j Job) group(source string) *targetgroup.Group {
	g := &targetgroup.Group{Source: source, Labels: model.LabelSet{model.JobLabel: model.LabelValue(j.Name)}}
	for name, value := range j.Labels {
		g.Labels[model.LabelName(name)] = model.LabelValue(value)
	}
	for _, target := range j.Targets {
		g.Targets = append(g.Targets, model.LabelSet{model.AddressLabel: model.LabelValue(target)})
	}
	return g
}

// run scrapes until ctx ends and returns when nothing scrapes any more.
func (s *scraper) run(ctx context.Context) error {
	sets := make(chan map[string][]*targetgroup.Group, 1)
	sets <- s.targets
	ran := make(chan error, 1)
	go func() { ran <- s.manager.Run(sets) }()
	s.watch(ctx)
	s.manager.Stop()
	return <-ran
}

// watch tells the log whenever a target stops or starts answering, until ctx ends. The series up
// says the same to queries.
func (s *scraper) watch(ctx context.Context) {
	ticker := time.NewTicker(healthEvery)
	defer ticker.Stop()
	was := map[string]scrape.TargetHealth{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for pool, targets := range s.manager.TargetsActive() {
			for _, t := range targets {
				key, now := pool+" "+t.String(), t.Health()
				switch {
				case now == scrape.HealthBad && was[key] != now:
					s.log.Warn("a target can't be scraped: its series end, and rules that need them have no data",
						"target", t.String(), "job", t.GetValue(model.JobLabel), "err", t.LastError())
				case now == scrape.HealthGood && was[key] == scrape.HealthBad:
					s.log.Info("a target can be scraped again", "target", t.String(), "job", t.GetValue(model.JobLabel))
				}
				was[key] = now
			}
		}
	}
}
