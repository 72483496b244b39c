# What is run while working on Menshen, and what a newcomer runs first. `make` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo build test bench lint fmt

CARGO ?= cargo
# Where the demo listens: make demo LISTEN=0.0.0.0:8080
LISTEN ?= 127.0.0.1:8080
# A part of the tests: make test TESTS=login
TESTS ?=
# Options of the load bench: make bench BENCH='--quick --only "Menshen, session"'
BENCH ?=
# What keeps state: tested on PostgreSQL as well.
STATEFUL := store:: accounts:: session:: login::

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## Gateway, WeChat stand-in, simulated phone and an old application, on LISTEN=127.0.0.1:8080
	@exec $(CARGO) run --quiet --locked -- demo --listen '$(LISTEN)'

build: ## A debug build: what the demo and the tests use
	@.ci/need cargo cc cmake
	@[ -d "$${CARGO_TARGET_DIR:-target}/debug" ] || echo 'The first build compiles every dependency and takes some minutes.'
	@$(CARGO) build --locked

test: ## All tests, the browser's included, first those of the store on PostgreSQL; the summary comes last
	@.ci/need cargo cc cmake chromium chromedriver cjk-fonts nginx caddy postgresql node npm
	@.ci/node-modules examples/miniprogram
	@failed=0; \
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
		[ -n '$(TESTS)' ] || .ci/with-postgres $(CARGO) nextest run --locked --no-fail-fast --lib $(STATEFUL) || failed=1; \
		$(CARGO) nextest run --locked --no-fail-fast $(TESTS) || failed=1; \
	else \
		[ -n '$(TESTS)' ] || .ci/with-postgres .ci/test-totals $(CARGO) test --locked --no-fail-fast --lib -- $(STATEFUL) || failed=1; \
		.ci/test-totals $(CARGO) test --locked --no-fail-fast --lib --bins --tests -- $(TESTS) || failed=1; \
	fi; \
	exit $$failed

bench: ## What the gate costs, in parts and under load beside a bare proxy, nginx, Caddy and Apache: about three quarters of an hour
	@.ci/need cargo cc cmake nginx caddy apache2 libapache2-mod-auth-openidc postgresql
	$(CARGO) bench --locked --bench gate -- --warm-up-time 1 --measurement-time 2
	$(CARGO) bench --locked --bench counts
	$(CARGO) bench --locked --bench load -- $(BENCH)
	.ci/with-postgres $(CARGO) bench --locked --bench load -- --only logins --only 'anonymous views'

lint: ## Format, clippy with and without the sandbox, rustdoc, licences and advisories (with cargo-deny)
	@.ci/need cargo cc cmake
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --locked check; \
	else \
		echo 'cargo-deny is not installed: licences and advisories were not checked.'; \
	fi

fmt: ## Formats the sources
	$(CARGO) fmt
