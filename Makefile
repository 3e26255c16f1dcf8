# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
# Every command of the project. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
N ?= 2
SUITE ?= all
PROFILES ?= GATEWAY-HTTP
DIR ?= examples/quickstart
export GATEFLEET_CACHE ?= $(HOME)/.cache/gatefleet

.PHONY: help setup build up test lint fmt crds images clusters clusters-down kind-up e2e conformance oracle floods fuzz bench bench-routes tools

help: ## lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: ## installs what is missing on Debian or Ubuntu; says what it would need elsewhere
	@tests/setup/setup.sh

build: ## builds the operator, the command line and the gateway
	@cargo build --quiet -p operator -p gateway

up: build ## runs a whole fleet on this machine from a folder (DIR=examples/quickstart; ONCE=1 checks it and ends)
	@target/debug/gatefleet up $(DIR) $(if $(ONCE),--once)

test: setup ## runs every suite that CI runs and ends with one line of figures
	@tests/run ci

lint: ## format, clippy, licences and advisories
	@tests/run lint

fmt: ## formats the sources
	@cargo fmt --all

crds: ## writes crds/generated and the kinds' chart from the Rust types
	@cargo run --quiet -p xtask -- crds

images: build ## builds the images without Docker and pushes them to the test registry
	@tests/cluster/cluster images target/debug

clusters: setup ## starts N real Kubernetes clusters on this machine (as root, without Docker)
	@tests/cluster/cluster up $(N)

clusters-down: ## ends them and leaves nothing behind
	@tests/cluster/cluster down

kind-up: ## starts kind clusters (needs Docker and kind)
	@kind-configs/up $(N)

e2e: setup build ## runs the end-to-end suites on real clusters (SUITE=name for one)
	@tests/run e2e $(SUITE)

conformance: setup build ## runs the official Gateway API suite on a real cluster (PROFILES=GATEWAY-HTTP,...)
	@tests/run conformance $(PROFILES)

oracle: setup build ## compares the gateway with the real Envoy
	@tests/run oracle

floods: ## floods, slow clients and crowds in nightly size
	@tests/run floods --slow 2000 --idle 15000

fuzz: ## runs the fuzz targets under libFuzzer (SECONDS=60 each; TARGETS="path xds"; needs cargo-fuzz and a nightly compiler)
	@tests/run libfuzzer $(or $(SECONDS),60) $(TARGETS)

bench: ## measures the gateway beside Envoy, nginx, HAProxy and a bare forwarder (QUICK=1; TESTS=h1,idle; PROFILE=1; BUILD=quick)
	@tests/setup/setup.sh --bench
	@tests/run bench $(if $(QUICK),--quick) $(if $(TESTS),--tests $(TESTS)) $(if $(PROFILE),--profile) $(if $(BUILD),--build $(BUILD))

bench-routes: ## measures a route change from the API server to the gateways
	@tests/run bench-routes

tools: setup ## builds the tools that suites use from source, so that later runs find them
	@for tool in hyper helm conformance envoy cargo-deny; do tests/setup/tool $$tool >/dev/null || exit 1; done
