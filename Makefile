# `make demo` and `make test` need Python 3.11 or newer, git and make; they set up everything else.

PYTHON ?= python3
WORKERS ?= 2
ENV    := .venv
BIN    := $(ENV)/bin
STUDY  := $(shell sed -n 's/^study: *//p' config.yaml)

export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | sort | expand -t 10

.PHONY: demo
demo: $(ENV)/ready  ## Run the default study and say where its report is
	@snakemake
	@echo "The report: $(CURDIR)/results/$(STUDY)/report.html"

.PHONY: test
test: check  ## Check the style and run all tests
	@python -m pytest -n $(WORKERS)

.PHONY: bench
bench: $(ENV)/ready  ## Time the library beside a plain implementation, on a random model or that of ASSETS=DIR
	@python benchmarks/speed.py $(if $(ASSETS),--assets $(ASSETS))

.PHONY: check
check: $(ENV)/ready  ## Check style, workflow and generated files
	@ruff check
	@ruff format --check -q
	@snakefmt --check Snakefile workflow/rules
	@snakemake --lint
	@python -m pytest tests/test_reference.py

.PHONY: env
env: $(ENV)/ready  ## Set up the environment in .venv

# Made again only when the pinned packages or this package's own requirements change.
$(ENV)/ready: envs/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@echo "Setting up $(ENV): this takes some minutes, once"
	@$(PYTHON) -m venv $(ENV)
	@python -m pip install -qq --disable-pip-version-check -r envs/lock.txt
	@python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: reference
reference: $(ENV)/ready  ## Generate the schema and the reference page of the configuration
	@normgrowth schema --write

.PHONY: format
format: $(ENV)/ready  ## Format the code
	@ruff check -q --fix
	@ruff format -q
	@snakefmt Snakefile workflow/rules

.PHONY: lock
lock: $(ENV)/ready  ## Pin what is installed now
	@{ sed -n '/^#/p' envs/lock.txt; python -m pip freeze --all --exclude-editable | sed '/^pip=/d; s/+.*//'; } > envs/lock.new
	@mv envs/lock.new envs/lock.txt

.PHONY: clean
clean:  ## Remove results, resources and logs, not the environment
	rm -rf results resources logs .snakemake
