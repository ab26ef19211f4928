"""The checks are the same everywhere: in scripts/check, before a commit, and in the workflow."""

from __future__ import annotations

import re
import tomllib

import pyzdb
from tests.support.pages import text_of


def test_what_runs_before_a_commit_is_in_the_script_of_all_checks() -> None:
    script = re.sub(r' --cache-dir "\S+"', "", text_of("scripts/check"))
    script = script.replace('"$run/', "").replace('"', "")
    entries = re.findall(r"entry: \.venv/bin/(.*)", text_of(".pre-commit-config.yaml"))
    assert entries
    for entry in entries:
        assert entry in script


def test_the_workflow_runs_the_script_on_every_python_that_is_named() -> None:
    workflow = text_of(".github/workflows/check.yml")
    assert "scripts/check python${{ matrix.python }}" in workflow
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    for classifier in project["classifiers"]:
        version = classifier.rpartition(" :: ")[2]
        assert not version.startswith("3.") or f'"{version}"' in workflow


def test_the_makefile_has_the_script_and_the_same_extras() -> None:
    makefile = text_of("Makefile")
    assert "bash scripts/check" in makefile
    [extras] = re.findall(r"'\.\[(.*)\]'", makefile)
    assert f".[{extras}]" in text_of("scripts/check")


def test_the_changelog_has_every_version_with_its_date() -> None:
    titles = re.findall(r"^## (.*)$", text_of("CHANGELOG.md"), re.M)
    if titles[0] == "[Unreleased]":
        del titles[0]
    released = [re.fullmatch(r"\[([\d.]+)\] - \d{4}-\d\d-\d\d", title) for title in titles]
    versions = [found[1] for found in released if found]
    assert len(versions) == len(titles)
    assert versions[0] == pyzdb.__version__
    parts = [[int(part) for part in version.split(".")] for version in versions]
    assert parts == sorted(parts, reverse=True)
