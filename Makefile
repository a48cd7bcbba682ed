# Two commands to start with: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-portable test-slow test-faults lint format check-gpu bench bench-peers reproduce docs clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 15

install: $(STAMP) ## create .venv and install the package with its development tools

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version); set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## train eVAE on dSprites for a few minutes and write a report
	$(BIN)/python train.py experiment=demo

test: $(STAMP) ## run the tests, a process a core, each file in one of them
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

# What the libraries choose on a processor with AVX2 and no more: other kernels, other rounding, none for bf16.
AVX2_ONLY := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2

test-portable: $(STAMP) ## run the tests as a processor without AVX-512 and bf16 does, with one thread and with two
	@failed=; for threads in 1 2; do \
	  env $(AVX2_ONLY) OMP_NUM_THREADS=$$threads $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile \
	    || failed="$$failed $$threads"; \
	done; test -z "$$failed" || { echo "failed with this many threads:$$failed"; exit 1; }

test-slow: $(STAMP) ## run the long studies among the tests
	$(BIN)/python -m pytest -m slow --timeout 3600

test-faults: $(STAMP) ## kill, spoil and attack; a table of faults (two cores: 40 minutes at most)
	OMP_NUM_THREADS=1 GVAE_FAULT_TABLE=logs/faults.md timeout 2400 $(BIN)/python -m pytest -m 'slow or not slow' \
	  -n 2 --dist loadfile --timeout 1200 tests/faults tests/endings tests/security tests/fuzz tests/test_numerical_safety.py tests/callbacks/test_rollback.py \
	  tests/evolution/test_ranks.py tests/evolution/architecture/test_ranks.py tests/models/test_vae_ranks.py tests/models/test_adversarial_ranks.py \
	  tests/cli/test_run_folders.py tests/cli/test_submitit.py tests/studies/test_executors.py

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check-gpu: $(STAMP) ## what works on the GPU at hand, and how fast (8 minutes; without one, what the CPU can show)
	$(BIN)/python -m benchmarks.check_gpu

bench: $(STAMP) ## run every benchmark, side by side with what it is compared to (hours; a quiet machine)
	$(BIN)/python -m benchmarks

bench-peers: $(STAMP) .venv-peers/.installed ## our training against pythae's and other loops, each in its own process
	$(BIN)/python -m benchmarks.peers

# Peers have an environment of their own. Torch is that of $(VENV), the very files: how much of a library is resident depends on
# how the kernel keeps its file, by 100 MB for two copies of torch.
SITE := import sysconfig; print(sysconfig.get_path("purelib"))
.venv-peers/.installed: $(STAMP) constraints.txt
	$(PYTHON) -m venv --clear .venv-peers
	$(BIN)/python -c '$(SITE)' > "$$(.venv-peers/bin/python -c '$(SITE)')/torch_of_venv.pth"
	grep -E '^(torch|numpy)==' constraints.txt > .venv-peers/constraints.txt
	.venv-peers/bin/python -m pip install --quiet --constraint .venv-peers/constraints.txt pythae==0.1.2
	@touch $@

# FROM=scratch prints the commands that compute everything anew, with their hours; TO=folder keeps figures and reports.
reproduce: $(STAMP) ## make the tables and figures of docs/results again from the stored runs, and compare
	$(BIN)/python -m lightning_gvae.cli.reproduce docs/results $(if $(filter scratch,$(FROM)),--scratch) $(if $(TO),--to $(TO))

# The site needs neither torch nor the package: docstrings and configurations are read as text.
docs: .venv-docs/.installed ## build the documentation into site/; every warning is an error
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true .venv-docs/bin/mkdocs build --strict --clean
	.venv-docs/bin/codespell

.venv-docs/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-docs
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["docs"], sep="\n")' \
	  > .venv-docs/requirements.txt
	.venv-docs/bin/python -m pip install --quiet --constraint constraints.txt --requirement .venv-docs/requirements.txt
	@touch $@

clean: ## remove caches and build output; runs and data stay
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -exec rm -rf {} +
