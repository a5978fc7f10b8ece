# The whole workflow. Each target works alone on a fresh machine with git, make and Python 3.11 or newer.
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PYTHON

.PHONY: demo test torture check bench bench-full screens clean

demo: $(INSTALLED)  ## show everything on a server of its own, then clean up
	$(BIN)/reconcile demo

test: $(INSTALLED)  ## all tests, against a real sshd and the embedded server
	-@.ci/install-openssh
	-@.ci/install-shells
	-@.ci/install-servers $(VENV)/servers
	-@.ci/install-s3-servers
	@$(BIN)/python -m compileall -q reconcile tests  # once, and not by each of the processes that tests start
	$(BIN)/python -m pytest -n auto

torture: $(INSTALLED)  ## an hour or more: everything that may break, at every request
	-@.ci/install-openssh
	-@.ci/install-servers $(VENV)/servers
	-@.ci/install-s3-servers
	TORTURE=1 $(BIN)/python -m pytest -n auto --timeout 0 tests/faults tests/remotes/s3 tests/remotes/servers

check: $(INSTALLED)  ## style, types, layering
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py

bench: $(VENV)/.bench  ## some three minutes: beside rsync and rclone
	$(BIN)/python -m tests.benchmarks

bench-full: $(VENV)/.bench  ## the long one
	$(BIN)/python -m tests.benchmarks --full

screens: $(INSTALLED)  ## what people see, as pictures in build/screens, to be looked at
	$(BIN)/python -m tests.screens build/screens

clean:  ## everything that can be made again
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find reconcile tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml .ci/make-venv
	.ci/make-venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

$(VENV)/.bench: $(INSTALLED)
	-@.ci/install-openssh
	-@tests/benchmarks/install-peers
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@
