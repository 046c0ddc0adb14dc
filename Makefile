# What there is to do. `make` alone lists it.

DEMO_FLAGS     ?=
TEST_FLAGS     ?=
ORACLE_FLAGS   ?=
FUZZTIME       ?= 5s
RULES_FUZZTIME ?= 30s
VERSION        ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Debian keeps haproxy where only root looks.
export PATH := $(PATH):/usr/sbin:/usr/local/sbin

.DEFAULT_GOAL := help
.PHONY: help build demo test test-oracle test-kubernetes lint vet bench fuzz servers tools ci clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/gatekeeper
	go build -trimpath -ldflags '-X main.release=$(VERSION)' -o bin/gatekeeper ./cmd/gatekeeper

demo: build ## show a good and a bad release on this machine; DEMO_FLAGS=--exit ends by itself
	bin/gatekeeper demo $(DEMO_FLAGS)

test: servers test-oracle ## run all tests, those with real servers included; TEST_FLAGS for go test
	go test -timeout 30m $(TEST_FLAGS) ./...

# A module of its own; -mod=mod, for what it needs follows what the product needs.
test-oracle: ## hold the evaluation of rules to Prometheus's own; ORACLE_FLAGS=-oracle.cases=20000
	go -C rules/oracle test -mod=mod -timeout 20m -v -run 'SameAsPrometheus|Difference' . $(ORACLE_FLAGS)

test-kubernetes: ## run the tests on a real Kubernetes control plane, built once into the cache directory (6 to 20 minutes)
	assets=$$(.ci/kubernetes-tools) && KUBEBUILDER_ASSETS=$$assets go test -count=1 -timeout 20m $(TEST_FLAGS) -run 'Cluster|ControlPlane' ./internal/kubetest ./actions/kubernetes ./deploy

lint: tools ## check style and import arrows, and the workflow for GitHub Actions
	"$$(.ci/golangci-lint)" run
	"$$(.ci/actionlint)" examples/pipelines/github-actions.yml

vet: ## run go vet
	go vet ./...

bench: servers ## run the benchmarks, about 5 minutes; -v says what is skipped, such as Kubernetes before make test-kubernetes
	assets=$$(.ci/kubernetes-tools --have); KUBEBUILDER_ASSETS=$$assets go test -v -timeout 30m -run '^$$' -bench . $$(.ci/having Benchmark)
	go -C rules/oracle test -mod=mod -timeout 20m -v -run '^$$' -bench .

fuzz: ## fuzz each target for FUZZTIME (5s), those of health files, rules, tests and templates for RULES_FUZZTIME (30s)
	.ci/fuzz $(FUZZTIME) $(RULES_FUZZTIME)

servers: ## install the servers that tests run against (Debian, as root), or say what will be skipped
	@.ci/install-servers

tools: ## build the linters into the cache directory, once
	@.ci/golangci-lint >/dev/null
	@.ci/actionlint >/dev/null

ci: ## run everything that a change must pass
	.ci/run

clean: ## remove what was built
	rm -rf bin dist
	go clean -testcache
