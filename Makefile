# Everything a developer runs. `make` alone lists the targets.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
BIN      := bin/cairn
FUZZTIME ?= 10s
WRITES   ?= 100000
N        ?= 1

# A version is a tag (v1.2.3 gives 1.2.3, later commits add +count.hash), or
# 0.1.0-dev with the commit where there is no tag or no repository.
VERSION  ?= $(shell scripts/version)
COMMIT   ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS  := -X github.com/cairn-project/cairn/nomad.Version=$(VERSION) -X main.commit=$(COMMIT)

# The tests that start processes run on their own, after the others, so that
# elections do not compete with compilers for the processor. Git may refuse a clone that
# belongs to somebody else, so nothing here needs it: the commit is the linker's.
UNIT     := $(GO) list -buildvcs=false ./... | grep -v '/e2e$$'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/cairn
	@mkdir -p bin
	$(GO) build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/server

.PHONY: test
test: ## vet and run all tests, those that start real servers too
	$(GO) vet ./...
	$(GO) test -timeout 15m $$($(UNIT))
	$(GO) test -timeout 15m ./e2e

.PHONY: race
race: ## run the tests that start no processes under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short -timeout 15m $$($(UNIT))

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME each (10s)
	GO='$(GO)' FUZZTIME='$(FUZZTIME)' scripts/fuzz

.PHONY: soak
soak: ## make WRITES (100000) writes under kills, freezes and partitions, and look for each
	CAIRN_SOAK_WRITES='$(WRITES)' $(GO) test -count=1 -timeout 2h -v -run '^TestWritesUnderFaultsAreAppliedOnce$$' ./nomad ./e2e

.PHONY: lint
lint: ## check the format, vet, and the rules of the house
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) test -count=1 ./internal/archtest

.PHONY: check
check: lint test race ## everything a change must pass

.PHONY: bench
bench: build ## measure our own figures
	$(GO) run ./bench/cmd/cairnbench -cairn $(BIN)

.PHONY: bench-peers
bench-peers: build ## measure us and etcd in one run (installs etcd with apt-get)
	bench/install-peers.sh
	$(GO) run ./bench/cmd/cairnbench -cairn $(BIN) -peers

.PHONY: pgo
pgo: ## profile the agent under load for the compiler (cmd/server/default.pgo)
	mkdir -p bin
	GOGC=400 $(GO) test -run '^$$' -bench HTTP -benchtime 200000x -cpuprofile cmd/server/default.pgo -o bin/agent.test ./bench

.PHONY: dev
dev: build ## run a dev agent: one server, all in memory, loopback only
	$(BIN) agent -dev

.PHONY: cluster
cluster: build ## run three servers on loopback until Ctrl-C
	scripts/cluster up

.PHONY: cluster-server
cluster-server: ## start server N (1, 2 or 3) of the cluster again
	scripts/cluster server $(N)

.PHONY: clean
clean: ## remove what was built and the data of the loopback cluster
	rm -rf bin dist .cluster
