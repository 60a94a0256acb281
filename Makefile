# Every habit has one command; `make help` lists them. What they do lives in deploy/local/*.py.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PY := .venv/bin/python
LOCAL := $(PY) -m deploy.local

SERVICE ?=
N ?=
ARGS ?=

.PHONY: help
help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

.PHONY: demo
demo: $(if $(STACK),setup,environment) page ## See it work: one process, no servers. STACK=1: on the real stack
	@$(if $(STACK),$(LOCAL) up && eval "$$($(LOCAL) env)" &&) $(PY) -m deploy.demo $(if $(STACK),--stack) $(ARGS)

.PHONY: run
run: environment page ## The gateway with everything embedded, for your own images
	@$(PY) -m services.embedded $(ARGS)

.PHONY: test
test: ## All tests, on the real stack. ARGS="-k text" picks some
	@sh deploy/local/setup.sh test
	@$(PY) -m gateway.web.build && $(PY) -m gateway.web.build --check
	@$(PY) -m pytest tests $(ARGS)

.PHONY: test-unit
test-unit: environment ## The unit tests: seconds, no network
	@$(PY) -m pytest tests/unit $(ARGS)

.PHONY: up
up: setup page ## Start the real stack: Kafka, Redis, Triton and every service. Safe to call twice
	@$(LOCAL) up $(ARGS)

.PHONY: down
down: environment ## Stop the stack; its data stays
	@$(LOCAL) down

.PHONY: status
status: environment ## What runs: state, port, uptime, memory
	@$(LOCAL) status

.PHONY: logs
logs: environment ## Logs of all, or of SERVICE=segmenter. ARGS=-f follows
	@$(LOCAL) logs $(SERVICE) $(ARGS)

.PHONY: scale
scale: environment ## Run N replicas: make scale SERVICE=segmenter N=2
	@test -n "$(SERVICE)" && test -n "$(N)" || { echo "error: make scale SERVICE=segmenter N=2" >&2; exit 2; }
	@$(LOCAL) scale $(SERVICE) $(N)

.PHONY: bench
bench: setup ## Throughput of the pipeline against the bare models
	@$(PY) -m tests.bench $(ARGS)

.PHONY: setup
setup: ## Install what is missing: the environment, and what the real stack needs
	@sh deploy/local/setup.sh stack

.PHONY: environment
environment:
	@sh deploy/local/setup.sh environment

.PHONY: web
web: environment ## Build the page that the gateway serves
	@$(PY) -m gateway.web.build

.PHONY: page
page: environment
	@$(PY) -m gateway.web.build || echo "the page is not built; all else works. Try again: make web" >&2

.PHONY: quality
quality: environment ## Measure the bundled models on held-out scenes: docs/quality.md
	@$(PY) -m services.quality run $(ARGS)

.PHONY: protos
protos: environment ## Compile the protos into gen/
	@$(PY) protos/compile.py

.PHONY: fmt
fmt: environment ## Format, and fix what can be fixed
	@$(PY) -m ruff check --fix --quiet . ; $(PY) -m ruff format .

.PHONY: lint
lint: environment ## Style, and the layers' import contracts
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && .venv/bin/lint-imports --no-logo

.PHONY: types
types: environment ## mypy --strict
	@$(PY) -m mypy

.PHONY: lock
lock: environment ## Resolve the dependencies of pyproject.toml anew into requirements.lock
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $$(command -v uv || echo .tercet/uv/bin/uv) pip compile --quiet \
	  pyproject.toml --all-extras --python-version 3.11 --generate-hashes --no-emit-index-url $(ARGS) \
	  --output-file requirements.lock

.PHONY: clean
clean: ## Stop the stack and delete all that can be made again, its data included; .venv stays
	@test ! -x $(PY) || $(LOCAL) down
	@rm -rf .tercet gen build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
