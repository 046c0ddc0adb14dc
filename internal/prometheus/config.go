// Package prometheus asks any metric backend that speaks Prometheus's HTTP API: Prometheus,
// Thanos, Mimir, VictoriaMetrics and their like.
//
// It has a small client of its own because client_golang's reads bodies of any size, accepts
// answers that are none, and doesn't tell infos from warnings; here a warning makes an answer
// partial, and a partial answer is no answer.
package prometheus

import (
	"time"

	"github.com/prometheus/common/model"

	"github.com/gatekeeper-engine/gatekeeper"
	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
)

// Caps on one answer.
const (
	maxBody   = 32 << 20 // bytes
	maxSeries = 10_000
	maxPoints = 11_000 // of one series in one request; Prometheus's own limit
)

// Config is a metric backend as the operator names it.
type Config struct {
	httpclient.Config `yaml:",inline"`

	// Params go with every query, such as {dedup: ["true"], partial_response: ["false"]}.
	Params map[string][]string `yaml:"params,omitempty" json:"params,omitempty"`
	// QueryOffset asks for data that much older, for backends that take in samples late. Default 0.
	QueryOffset model.Duration `yaml:"query_offset,omitempty" json:"query_offset,omitempty"`
	// Timeout is the deadline of one query with all its retries. Default 10s.
	Timeout model.Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"`
	// MaxConcurrent is how many queries may be under way at once. Default 16.
	MaxConcurrent int `yaml:"max_concurrent,omitempty" json:"max_concurrent,omitempty"`
}

// The parameters that Gatekeeper sets itself.
var ownParams = []string{"query", "time", "start", "end", "step", "timeout"}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = model.Duration(10 * time.Second)
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = 16
	}
	return c
}

// Validate says what is wrong with the settings, without touching a file or the network.
func (c Config) Validate() error {
	if err := c.Config.Validate(); err != nil {
		return err
	}
	c = c.withDefaults()
	switch {
	case c.Timeout < model.Duration(time.Millisecond):
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "the default is 10s", "timeout %s is too short", c.Timeout)
	case c.QueryOffset < 0:
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "the default is 0s", "query_offset can't be negative")
	case c.MaxConcurrent < 0 || c.MaxConcurrent > 10_000:
		return gatekeeper.Errorf(gatekeeper.CodeInvalid, "the default is 16", "max_concurrent %d is not between 1 and 10000", c.MaxConcurrent)
	}
	for _, name := range ownParams {
		if _, ok := c.Params[name]; ok {
			return gatekeeper.Errorf(gatekeeper.CodeInvalid, "take it away", "params: %s is set by Gatekeeper itself", name)
		}
	}
	return nil
}
