# Two commands: `make curriculum` builds and trains on the embedded default, `make test` checks everything.
# PROFILE=tiny|recorded|gpu and CORPORA=<folder> choose what to build; WORKERS=<n> how many processes do it.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
INSTALLED := $(VENV)/.installed

.PHONY: curriculum test soak lint bench serve setup clean

# The build prints a line and a bar a stage; Prefect's own log lines stay in its database, warnings apart.
curriculum: export PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL := WARNING
curriculum: setup
	@$(if $(PROFILE)$(CORPORA),python -m tasks.common.params $(if $(PROFILE),--profile "$(PROFILE)") $(if $(CORPORA),--corpora "$(CORPORA)"),true)
	@python -m flows.build_curriculum

test: setup lint $(VENV)/.vllm
	@python -m pytest

# What takes too long for every change.
soak: setup $(VENV)/.vllm
	@python -m pytest -m soak

lint: setup
	@ruff check .
	@ruff format --check .
	@mypy

# Side by side with peers; ONLY="mixing rooms" runs some.
bench: setup $(VENV)/.bench $(VENV)/.vllm
	@python -m bench $(ONLY)

serve: setup
	@python -m flows.serve

setup: $(INSTALLED)

# The environment is made once and again whenever what it is made from changes.
$(INSTALLED): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || { echo "error: '$(PYTHON)' is not Python 3.11 or 3.12. Install one, or pass PYTHON=<interpreter>" >&2; exit 2; }
	@echo "setting up $(VENV) (a few minutes, once)"
	@"$(PYTHON)" -m venv $(VENV)
	@python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[pesq]" || echo "no C compiler here: reports/quality.parquet does without PESQ"
	@python -m tasks.common.environment
	@python -m tasks.common.versions
	@touch $@

# What only the measurements need is installed for them.
$(VENV)/.bench: $(INSTALLED)
	@python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[bench]"
	@touch $@

# The tests of engines and runners run the real vLLM, Dask and Ray, which only they need. What it brings as CUDA builds breaks imports beside a CPU torch.
$(VENV)/.vllm: $(INSTALLED)
	@echo "adding vLLM, Dask and Ray for the tests (a few minutes, once)"
	@python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,vllm,dask,ray]"
	@python -m pip uninstall --quiet --disable-pip-version-check --yes torchvision torchcodec triton
	@python -m tasks.common.environment
	@python -m tasks.common.versions
	@touch $@

clean:
	rm -rf data models reports .prefect
