# Everything the README names. Each target creates what it needs with uv; nothing outside this folder and the caches of uv and driftloop is written.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
# programs keep their bytecode: to compile it anew doubles the time of each start
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo test lint bench fault-run fuzz render clean images cluster-test bootstrap-test wheel-test check-platform

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## the environment of the command line and the tests (.venv)
	@scripts/setup

demo: setup ## the whole story on this machine: train, serve, drift, retrain, roll out
	@.venv/bin/driftloop demo

test: setup ## lint, types, import contracts, unit, property, golden, fault and end-to-end tests
	@scripts/test

lint: setup ## ruff, mypy, import-linter, the links of the site
	@scripts/lint

bench: setup ## the benchmarks, each printing its ratio
	@scripts/bench

fault-run: setup ## kill every part of a running loop under traffic, and count what was lost (ARGS="--requests 2000 --kills 6")
	@.venv/bin/python tests/bench/fault_run.py $(ARGS)

fuzz: setup ## 10,000 hostile events, requests, specs and state files (ARGS="--hostile 2000 --hostile-seed 1")
	@.venv/bin/pytest -q -s tests/fuzz --hostile 10000 --hostile-seed $$RANDOM $(ARGS)

render: setup ## render the example into workflows/, deployments/, monitors/ and cluster/
	@.venv/bin/driftloop render examples/digits/pipeline.yaml --into .

clean: ## remove the environment and the demo's state
	rm -rf .venv .driftloop

images: setup ## build the images of the roles and of the digits example (docker, podman or buildah)
	@scripts/images examples/digits

cluster-test: setup ## the loop on the cluster that KUBECONFIG points at (docs/guides/cluster.md)
	@.venv/bin/pytest -q -s tests/cluster/proof tests/cluster/forms

bootstrap-test: setup ## an empty cluster to a promotion after drift, by the guide's commands (CLUSTER_KIT, CLUSTER_MIRRORS)
	@.venv/bin/pytest -q -s tests/cluster/bootstrap

wheel-test: setup ## two clusters of one repository, with the wheel and a registry with a password (CLUSTER_KIT, CLUSTER_MIRRORS)
	@.venv/bin/pytest -q -s tests/cluster/wheel

check-platform: setup ## what cluster/ names of other projects against what these make (PLATFORM_CHARTS: their charts)
	@.venv/bin/pytest -q -rs tests/cluster/platform
