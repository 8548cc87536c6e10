# Quorate's verbs, in the order one needs them. `make` lists them.
#
# Everything built or downloaded is kept under $(CACHE); an empty cache only costs time.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/quorate
export CARGO_TARGET_DIR ?= $(CACHE)/target
# One selection for tests and programs: for one package alone cargo would build everything anew, with other features.
BUILD = cargo build --profile bed --workspace --bins --examples
# As cargo would start it, which would build it alone: it is told where this repository is.
BENCH = CARGO_MANIFEST_DIR=$(CURDIR)/tests/bench $(CARGO_TARGET_DIR)/bed/bench
SUITE = cargo run --quiet --profile bed -p quorate-suite --bin suite --

.PHONY: help
help: ## list the verbs
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: prerequisites bed ## the main job on a real Kubernetes, from nothing, narrated (root)
	cargo run --profile bed -p quorate-suite --bin demo

.PHONY: demo-down
demo-down: bed-down ## remove everything the demo made

.PHONY: dev
dev: ## three members in one process on localhost: [MODE=log] [DATA=directory]
	cargo run --profile bed -p quorate-sidecar -- dev $(if $(MODE),--mode $(MODE)) $(if $(DATA),--data $(DATA))

.PHONY: check
check: ## format, lints, pure crates alone, fast tests; writes nothing
	$(SUITE) check

.PHONY: fix
fix: ## format, and apply the lints' own suggestions
	cargo fmt --all
	cargo clippy --profile bed --workspace --all-targets --fix --allow-dirty --allow-staged

.PHONY: test
test: prerequisites bed ## everything: checks, all crates, simulations, a real Kubernetes
	$(SUITE) all

.PHONY: mutants
mutants: ## break one rule after another; each must make its test fail: [NAME=]
	$(SUITE) mutants $(NAME)

.PHONY: kubernetes
kubernetes: prerequisites bed ## tests on the bed, all or those whose names contain TEST=; with TEST= the bed stays up
	$(SUITE) kubernetes $(TEST)

.PHONY: chaos
chaos: prerequisites bed ## everything at once on the bed, from a seed, with visitors whose answers are checked: [MINUTES=60] [SEED=]
	CHAOS_MINUTES=$(or $(MINUTES),60) CHAOS_SEED=$(or $(SEED),$(shell date +%s)) $(SUITE) kubernetes whatever_happens

.PHONY: fuzz
fuzz: ## every decoder, and the core's step, on damaged inputs, MINUTES= each (default 10); one of them: TARGET= [SEED=]
	$(if $(SEED),FUZZ_SEED=$(SEED)) FUZZ_SECONDS=$$(( 60 * $(or $(MINUTES),10) )) \
	  cargo test --profile bed --workspace --lib --test raft --test hostile -- $(or $(TARGET),never_panic) --nocapture

.PHONY: sim
sim: ## search N simulation seeds (default 200)
	$(BUILD)
	$(CARGO_TARGET_DIR)/bed/sim --seeds $(or $(N),200)

.PHONY: replay
replay: ## replay one simulation: SEED= [STEPS=] [TRACE=1]
	@$(BUILD) --quiet
	$(CARGO_TARGET_DIR)/bed/sim --seed $(SEED) $(if $(STEPS),--steps $(STEPS)) $(if $(TRACE),--trace)

.PHONY: sim-operator
sim-operator: ## search N seeds of whole lives under the operator (default 200)
	$(BUILD)
	$(CARGO_TARGET_DIR)/bed/sim-operator --seeds $(or $(N),200)

.PHONY: replay-operator
replay-operator: ## replay one of those: SEED= [STEPS=] [TRACE=1]
	@$(BUILD) --quiet
	$(CARGO_TARGET_DIR)/bed/sim-operator --seed $(SEED) $(if $(STEPS),--steps $(STEPS)) $(if $(TRACE),--trace)

.PHONY: crds
crds: ## regenerate the CRD and the chart's copy
	@$(BUILD) --quiet
	$(CARGO_TARGET_DIR)/bed/quorate-crds > crds/raftclusters.yaml.new
	mv crds/raftclusters.yaml.new crds/raftclusters.yaml
	cp crds/raftclusters.yaml charts/quorate/files/raftclusters.yaml
	git diff --stat

.PHONY: golden
golden: ## rewrite golden files; read the diff
	REWRITE=1 cargo test --profile bed -p quorate-plan -p quorate-raft
	REWRITE=1 cargo test --profile bed -p quorate-suite --test tidy
	git diff --stat

.PHONY: release
release: ## the shipped binaries, in $(CARGO_TARGET_DIR)/release
	cargo build --release -p quorate-operator -p quorate-sidecar

.PHONY: measure
measure: $(if $(filter loopback,$(ONLY)),,prerequisites bed) ## idle memory and CPU beside their floors, on loopback and on the bed: [MINUTES=] [ONLY=loopback|bed]
	cargo run --profile bed -p quorate-suite --bin measure -- $(MINUTES) $(ONLY)

.PHONY: bench
bench: prerequisites bed ## ours beside etcd under one load, four hours; docs/performance.md: [ONLY=shape,shape] [ROUNDS=]
	@$(BUILD)
	$(BENCH) $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: bench-quick
bench-quick: prerequisites bed ## the same in two minutes, to see that it works: too short to mean anything: [ONLY=]
	@$(BUILD)
	$(BENCH) --rounds 1 --warm-up 2 --window 5 --losses 2 --only $(or $(ONLY),writes-64,reads-64,64-writes-at-once-64,leader-killed)

.PHONY: prerequisites
prerequisites:
	@command -v cargo >/dev/null || { echo "Rust is missing: install it from https://rustup.rs, then run make again"; exit 1; }
	@command -v go >/dev/null || { echo "Go is missing: install go 1.25 or newer from https://go.dev/dl, then run make again"; exit 1; }
	@command -v cc >/dev/null || { echo "a C linker is missing: run 'apt-get install -y gcc libc6-dev', then make again"; exit 1; }

include tests/bed/bed.mk
