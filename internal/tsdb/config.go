// Package tsdb is a metric backend inside the process: Prometheus's own time series database,
// scraper and query engine, for one machine and for the demo. It is what is used when no other
// backend is configured.
package tsdb

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper"
)

// Config says where the samples are kept, for how long, and whom to scrape.
type Config struct {
	// Path is the folder of the samples. One process at a time may use it.
	Path string `yaml:"data_dir" json:"data_dir"`
	// Retention is how long samples are kept; at least 2h, the span of a block. Default 15d.
	Retention model.Duration `yaml:"retention,omitempty" json:"retention,omitempty"`
	// RetentionSize bounds the disk space, such as 5GB (1024-based). The oldest samples go first,
	// in blocks; the newest two to three hours are kept in any case. Default 5GB.
	RetentionSize units.Base2Bytes `yaml:"retention_size,omitempty" json:"retention_size,omitempty"`
	// QueryTimeout is the deadline of one query. Default 10s.
	QueryTimeout model.Duration `yaml:"query_timeout,omitempty" json:"query_timeout,omitempty"`
	// MaxSamples is how many samples one query may hold in memory. Default 10 million, about 160 MB.
	MaxSamples int `yaml:"max_samples,omitempty" json:"max_samples,omitempty"`
	// RecordingRuleFiles are rule files of Prometheus, of recording rules only. Their groups are evaluated
	// at their intervals (default 15s), the rules of a group in order.
	RecordingRuleFiles []string `yaml:"recording_rule_files,omitempty" json:"recording_rule_files,omitempty"`
	// Scrape lists the targets. Two entries may share a job, to give its targets different labels.
	Scrape []Job `yaml:"scrape,omitempty" json:"scrape,omitempty"`
}

// Job is a set of targets that are scraped alike.
type Job struct {
	// Name becomes the label job.
	Name string `yaml:"job" json:"job"`
	// Interval is the time between scrapes, 1s or more. Default 15s.
	Interval model.Duration `yaml:"interval,omitempty" json:"interval,omitempty"`
	// Timeout is the deadline of one scrape, no longer than Interval. Default 10s, or Interval.
	Timeout model.Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"`
	// MetricsPath is where the metrics are. Default /metrics.
	MetricsPath string `yaml:"metrics_path,omitempty" json:"metrics_path,omitempty"`
	// Scheme is http or https. Default http.
	Scheme string `yaml:"scheme,omitempty" json:"scheme,omitempty"`
	// Targets are host:port; each becomes the label instance.
	Targets []string `yaml:"targets" json:"targets"`
	// Labels are added to every series of these targets.
	Labels map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"`
}

func (c Config) withDefaults() Config {
	if c.Retention == 0 {
		c.Retention = model.Duration(15 * 24 * time.Hour)
	}
	if c.RetentionSize == 0 {
		c.RetentionSize = 5 * units.Gibibyte
	}
	if c.QueryTimeout == 0 {
		c.QueryTimeout = model.Duration(10 * time.Second)
	}
	if c.MaxSamples == 0 {
		c.MaxSamples = 10_000_000
	}
	jobs := make([]Job, len(c.Scrape))
	for i, j := range c.Scrape {
		jobs[i] = j.withDefaults()
	}
	c.Scrape = jobs
	return c
}

func (j Job) withDefaults() Job {
	if j.Interval == 0 {
		j.Interval = model.Duration(15 * time.Second)
	}
	if j.Timeout == 0 {
		j.Timeout = min(model.Duration(10*time.Second), j.Interval)
	}
	if j.MetricsPath == "" {
		j.MetricsPath = "/metrics"
	}
	if j.Scheme == "" {
		j.Scheme = "http"
	}
	return j
}

// Validate says what is wrong with the settings, without touching a file or the network.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.Path == "":
		return invalid("name the folder of the samples", "data_dir is missing")
	case time.Duration(c.Retention) < 2*time.Hour:
		return invalid("the default is 15d", "retention %s is shorter than 2h, the span of a block", c.Retention)
	case c.RetentionSize < units.Mebibyte:
		return invalid("the default is 5GB", "retention_size %d is less than 1MB", c.RetentionSize)
	case c.QueryTimeout < model.Duration(time.Millisecond):
		return invalid("the default is 10s", "query_timeout %s is too short", c.QueryTimeout)
	case c.MaxSamples < 0:
		return invalid("the default is 10000000", "max_samples can't be negative")
	}
	for i, j := range c.Scrape {
		if err := j.validate(); err != nil {
			return invalid(gatekeeper.HintOf(err), "scrape %d (job %q): %v", i+1, j.Name, err)
		}
	}
	return nil
}

func (j Job) validate() error {
	switch {
	case j.Name == "":
		return invalid("", "job is missing")
	case time.Duration(j.Interval) < time.Second:
		return invalid("the default is 15s", "interval %s is shorter than 1s", j.Interval)
	case j.Timeout < 0 || j.Timeout > j.Interval:
		return invalid("", "timeout %s is not between 0 and the interval %s", j.Timeout, j.Interval)
	case j.Scheme != "http" && j.Scheme != "https":
		return invalid("", "scheme %q is neither http nor https", j.Scheme)
	case !strings.HasPrefix(j.MetricsPath, "/"):
		return invalid("", "metrics_path %q does not begin with /", j.MetricsPath)
	case len(j.Targets) == 0:
		return invalid("give at least one host:port", "targets is empty")
	}
	for _, target := range j.Targets {
		if u, err := url.Parse("http://" + target); err != nil || u.Host != target || target == "" {
			return invalid("give it as host:port; scheme and metrics_path have settings of their own", "target %q is no address", target)
		}
	}
	for name, value := range j.Labels {
		if !model.LegacyValidation.IsValidLabelName(name) || !model.LabelValue(value).IsValid() ||
			strings.HasPrefix(name, model.ReservedLabelPrefix) || name == model.JobLabel {
			return invalid("", "label %q can't be set", name)
		}
	}
	return nil
}

func invalid(hint, format string, args ...any) error {
	return gatekeeper.Errorf(gatekeeper.CodeInvalid, hint, "%s", fmt.Sprintf(format, args...))
}
