# Everything the README names. Each target creates what it needs with uv; nothing outside this folder and uv's cache is written.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: help setup demo test lint bench render clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## the environment of the command line and the tests (.venv)
	@scripts/setup

demo: setup ## the whole story on this machine: train, serve, drift, retrain, roll out
	@.venv/bin/driftloop demo

test: setup ## lint, types, import contracts, unit, property, golden, fault and end-to-end tests
	@scripts/test

lint: setup ## ruff, mypy, import-linter
	@scripts/lint

bench: setup ## the benchmarks, each printing its ratio
	@scripts/bench

render: setup ## render the example into workflows/, deployments/, monitors/ and cluster/
	@.venv/bin/driftloop render examples/digits/pipeline.yaml --into .

clean: ## remove the environment and the demo's state
	rm -rf .venv .driftloop
