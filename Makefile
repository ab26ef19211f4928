# What a developer runs; CONTRIBUTING.md tells the rest. Nothing is installed on the system.

PYTHON ?= python3

.PHONY: check test venv

# Every check, as CI runs it.
check:
	bash scripts/check

# All tests, without coverage, in the environment of `make venv`.
test: .venv
	.venv/bin/python -m pytest

venv: .venv

.venv: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable '.[test,check,bench]'
	touch .venv
