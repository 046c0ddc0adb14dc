package main

import (
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/pflag"

	"github.com/gatekeeper-engine/gatekeeper/internal/httpclient"
	"github.com/gatekeeper-engine/gatekeeper/internal/prometheus"
)

// metricBackend is a metric backend that a command asks by itself.
type metricBackend struct{ url, tokenFile string }

func (b *metricBackend) flags(f *pflag.FlagSet, what string) {
	f.StringVar(&b.url, "backend", "", "URL of a Prometheus-compatible API "+what)
	f.StringVar(&b.tokenFile, "backend-token-file", "", "file that holds the bearer token for --backend")
}

// open gives the backend; nil where none was named. Zero timeout and concurrent are the client's own.
func (b *metricBackend) open(timeout time.Duration, concurrent int) (*prometheus.Querier, error) {
	if b.url == "" {
		if b.tokenFile != "" {
			return nil, usagef("--backend-token-file needs --backend")
		}
		return nil, nil
	}
	return prometheus.New(prometheus.Config{
		Config:  httpclient.Config{URL: b.url, BearerTokenFile: b.tokenFile, ProxyFromEnvironment: true},
		Timeout: model.Duration(timeout), MaxConcurrent: concurrent,
	})
}
