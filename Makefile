# Every habit of the project, by name: `make help`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# One target directory for everything; CARGO_TARGET_DIR moves it.
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
STAMPS := $(CARGO_TARGET_DIR)/stamps
TOOLS := $(abspath .tools)
VENV := $(abspath .venv)
PY := $(VENV)/bin/python
export PATH := $(VENV)/bin:$(TOOLS)/bin:$(PATH)
export PYO3_PYTHON := $(PY)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export CARGO_NET_RETRY ?= 10

# Unoptimised tools build in a third of the time and are fast enough.
INSTALL_TOOL := CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug \
	--root $(TOOLS) --target-dir $(CARGO_TARGET_DIR)/tools
NEXTEST_VERSION := 0.9.143
DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.1
NEXTEST_PROFILE ?= $(if $(CI),ci,default)

# The feature changes every crate above the locks, so it has a target directory of its own.
SHUTTLE_TARGET := $(CARGO_TARGET_DIR)/shuttle
SHUTTLE := --package brimfs --package brimfs-sim --features brimfs-sim/shuttle --locked

# How many random cases a property of the soak runs; `make test` uses each property's own number.
SOAK_CASES ?= 50000
# How many images of each moment the crash suites of the soak try.
SOAK_IMAGES ?= 1000
# How often the soak kills a program that writes to a store.
SOAK_KILLS ?= 5000
# Where tests keep how many crashes they tried, and how many `make test` must have tried.
CRASHES := $(CARGO_TARGET_DIR)/tmp/crashes
CRASH_IMAGES_LEAST := 200000
# How long `make fuzz` tries each of its targets.
FUZZ_SECONDS ?= 20
# The same random cases every time in `make test`; the soak draws its own.
PROPTEST_RNG_SEED ?= 20240229
# Passed to the program behind `demo` and `bench`.
ARGS ?=

WHEEL_SOURCES := pyproject.toml Cargo.toml Cargo.lock $(wildcard README.md LICENSE-*) \
	$(shell find crates/brimfs crates/brimfs-transfer crates/brimfs-python python -type f \
		-not -path '*/tests/*' -not -path '*/__pycache__/*' -not -name '*.so' 2>/dev/null)

.PHONY: help
help: ## Says what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- build

.PHONY: build
build: ## Builds every crate, for development
	cargo build --workspace --locked

.PHONY: venv
venv: $(VENV)/.base $(VENV)/.test ## Creates .venv with what builds and tests the package

.PHONY: wheel
wheel: $(STAMPS)/wheel ## Builds the wheel and the sdist into dist/

.PHONY: install
install: $(VENV)/.brimfs ## Installs the wheel into .venv

$(VENV)/.base: requirements/build.txt
	@python=$$(.ci/find-python $(PYTHON)); \
	echo "creating .venv with $$python"; \
	rm -rf $(VENV); "$$python" -m venv $(VENV)
	$(PY) -m pip install --quiet --requirement requirements/build.txt
	@touch $@

# A sdist among the requirements is built with the setuptools named in constraints.txt.
$(VENV)/.test $(VENV)/.lint $(VENV)/.demo $(VENV)/.bench $(VENV)/.ecosystem: $(VENV)/.%: requirements/%.txt requirements/constraints.txt $(VENV)/.base
	$(PY) -m pip install --quiet --build-constraint requirements/constraints.txt --requirement $<
	@touch $@

$(STAMPS)/wheel: $(WHEEL_SOURCES) | $(VENV)/.base
	rm -rf dist
	maturin sdist --out dist
	maturin build --release --locked --out dist
	@mkdir -p $(@D); touch $@

$(VENV)/.brimfs: $(STAMPS)/wheel $(VENV)/.base
	$(PY) -m pip install --quiet --no-deps --force-reinstall dist/brimfs-*.whl
	@touch $@

# ---------------------------------------------------------------- test

.PHONY: test
test: ## Runs every test; sets up what is missing
	+@MAKE="$(MAKE)" .ci/phases test test-rust test-doc test-schedules test-python

.PHONY: test-rust
test-rust: $(STAMPS)/nextest $(VENV)/.base ## Unit and integration tests of every crate
	rm -rf $(CRASHES)
	export PROPTEST_RNG_SEED=$(PROPTEST_RNG_SEED); \
	if command -v cargo-nextest >/dev/null; then \
		cargo nextest run --workspace --locked --profile $(NEXTEST_PROFILE); \
	else \
		cargo test --workspace --locked --no-fail-fast --lib --bins --tests; \
	fi
	.ci/crashes.py $(CRASHES) --least $(CRASH_IMAGES_LEAST)

.PHONY: test-doc
test-doc: ## The examples in the documentation of the core
	cargo test --package brimfs --locked --doc

# Under shuttle's locks only the tests made for it run: modules named `schedules`, files named `shuttle`.
.PHONY: test-schedules
test-schedules: $(STAMPS)/nextest ## Schedules of the locks, explored by shuttle
	export CARGO_TARGET_DIR=$(SHUTTLE_TARGET); \
	if command -v cargo-nextest >/dev/null; then \
		cargo nextest run $(SHUTTLE) --profile $(NEXTEST_PROFILE) \
			--filterset 'test(schedules) | binary(/^shuttle/)'; \
	else \
		cargo test $(SHUTTLE) --lib schedules -- --test-threads 1; \
		cargo test $(SHUTTLE) --test shuttle --test shuttle_residency --test shuttle_mover --test shuttle_segments -- --test-threads 1; \
	fi

.PHONY: test-python
test-python: $(VENV)/.brimfs $(VENV)/.test $(VENV)/.lint $(VENV)/.demo ## Tests of the installed Python package, the wheel and the sdist
	$(PY) -m pytest tests/python

.PHONY: test-ecosystem
test-ecosystem: $(VENV)/.brimfs $(VENV)/.test $(VENV)/.ecosystem ## The tests with duckdb, dask and zarr, which it installs
	$(PY) -m pytest tests/python/test_fsspec_ecosystem.py tests/python/test_fsspec_cache_ecosystem.py

$(STAMPS)/nextest:
	@command -v cargo-nextest >/dev/null \
		|| $(INSTALL_TOOL) cargo-nextest --version $(NEXTEST_VERSION) \
		|| echo "cargo-nextest cannot be installed: cargo test runs the same tests"
	@mkdir -p $(@D); touch $@

.PHONY: sanitize sanitize-thread sanitize-address
sanitize: sanitize-thread sanitize-address ## Tests with threads and spilling under ThreadSanitizer and AddressSanitizer

sanitize-thread sanitize-address: sanitize-%:
	.ci/sanitize $*

.PHONY: mutants
mutants: ## Takes away each flush, checksum comparison and barrier: a test must fail
	.ci/mutants.py $(ARGS)

# The sanitizers and the counters of the fuzzer are options of the compiler that stable ones hide.
.PHONY: fuzz
fuzz: $(STAMPS)/fuzz ## Tries arbitrary bytes on what decodes a store, FUZZ_SECONDS for each target
	for target in $$(sed -n 's/^name = "\(decode_.*\)"/\1/p' fuzz/Cargo.toml); do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --target-dir $(CARGO_TARGET_DIR)/fuzz $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=2048 -rss_limit_mb=2048 -print_final_stats=1; \
	done

$(STAMPS)/fuzz:
	@command -v cargo-fuzz >/dev/null || $(INSTALL_TOOL) cargo-fuzz --version $(FUZZ_VERSION)
	@mkdir -p $(@D); touch $@

.PHONY: soak
soak: $(STAMPS)/nextest $(VENV)/.brimfs $(VENV)/.test $(VENV)/.lint $(VENV)/.demo ## Long runs: SOAK_CASES random cases per property
	rm -rf $(CRASHES)
	BRIMFS_CASES=$(SOAK_CASES) PROPTEST_CASES=$(SOAK_CASES) BRIMFS_IMAGES=$(SOAK_IMAGES) \
		cargo nextest run --workspace --locked --profile soak --cargo-profile soak
	.ci/crashes.py $(CRASHES) --least 1000000
	BRIMFS_CASES=$(SOAK_CASES) BRIMFS_KILLS=$(SOAK_KILLS) $(PY) -m pytest tests/python --timeout=0

# ---------------------------------------------------------------- lint

.PHONY: lint
lint: ## Runs every check that needs no test
	+@MAKE="$(MAKE)" .ci/phases lint lint-format lint-rust lint-house lint-docs lint-deny lint-python lint-stubs

.PHONY: lint-format
lint-format: $(VENV)/.lint ## Formatting of Rust and Python
	cargo fmt --all --check -- --files-with-diff
	ruff format --check .

.PHONY: lint-rust
lint-rust: $(VENV)/.base ## Clippy over every target
	cargo clippy --workspace --all-targets --locked --keep-going -- -D warnings
	CARGO_TARGET_DIR=$(SHUTTLE_TARGET) cargo clippy $(SHUTTLE) --all-targets -- -D warnings
	cargo clippy --package brimfs-bench --features peers --all-targets --locked -- -D warnings

.PHONY: lint-house
lint-house: ## Layers, sizes, unsafe code, words, promises
	cargo run --quiet --locked --package xtask -- check

.PHONY: lint-docs
lint-docs: $(VENV)/.base ## The documentation builds without a warning
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --keep-going

.PHONY: lint-deny
lint-deny: $(STAMPS)/deny ## Licences, sources, duplicates; advisories where reachable
	cargo deny --locked check --hide-inclusion-graph licenses bans sources
	@if cargo deny fetch db >/dev/null 2>&1; then \
		cargo deny --locked check --disable-fetch advisories; \
	else \
		echo "SKIPPED: advisories (the advisory database cannot be reached from here)"; \
	fi

.PHONY: lint-python
lint-python: $(VENV)/.lint $(VENV)/.test ## Ruff and mypy over the Python code
	ruff check .
	mypy

.PHONY: lint-stubs
lint-stubs: $(VENV)/.lint $(VENV)/.test $(VENV)/.brimfs ## The stubs against the built module
	$(PY) -m mypy.stubtest brimfs \
		--allowlist tests/python/stubs_allowed.txt --ignore-unused-allowlist

$(STAMPS)/deny:
	@command -v cargo-deny >/dev/null \
		|| $(INSTALL_TOOL) cargo-deny --version $(DENY_VERSION)
	@mkdir -p $(@D); touch $@

# ---------------------------------------------------------------- run

.PHONY: demo
demo: $(VENV)/.brimfs $(VENV)/.demo ## The ETL demo on real data; ARGS="--help" for its options
	$(PY) examples/python/etl_demo.py $(ARGS)

.PHONY: bench
bench: $(VENV)/.brimfs $(VENV)/.bench ## Benchmarks against the peers, Rust then Python
	cargo run --profile bench --package brimfs-bench --features peers --locked -- $(ARGS)
	$(PY) benches/python/bench.py $(ARGS)
	$(PY) benches/python/compat.py

.PHONY: fmt
fmt: $(VENV)/.lint ## Formats everything
	cargo fmt --all
	ruff check --select I --fix --quiet .
	ruff format .

.PHONY: clean
clean: ## Removes what was built; installed tools in .tools stay
	cargo clean
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
