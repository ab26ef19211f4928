"""What every torture test shares, and the command that runs one."""

from __future__ import annotations

import pytest

from tests.torture.__main__ import TESTS, main
from tests.torture.report import Count, Options, Run


def test_a_run_without_violations_passes_and_leaves_no_files(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Run("kills", seed=7) as run:
        (run.folder / "db.pkl").write_bytes(b"")
        run.progress(1, 2)
        status = run.finish({"kills": 2000, "s at most": 0.5})
    assert status == 0
    assert not run.folder.exists()
    said = capsys.readouterr()
    assert said.out.startswith("kills: passed: 2,000 kills, 0.50 s at most, 0 violations (seed 7")
    assert said.err == ""


def test_a_violation_fails_the_run_and_keeps_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    with Run("kills", seed=7) as run:
        run.violation("write 3 is lost")
        status = run.finish({})
    assert status == 1
    assert run.folder.is_dir()
    run.folder.rmdir()
    said = capsys.readouterr()
    assert "FAILED" in said.out
    assert "VIOLATION: write 3 is lost" in said.err
    assert str(run.folder) in said.err


def test_a_count_that_is_not_given_is_that_of_the_form() -> None:
    def parse(*arguments: str) -> int:
        options = Options("", "torture", kills=Count(2000, 200, "kills"))
        kills: int = options.parse(list(arguments)).kills
        return kills

    assert parse() == 2000
    assert parse("--short") == 200
    assert parse("--short", "--kills", "3") == 3


def test_the_same_seed_draws_the_same_numbers() -> None:
    with Run("one", seed=5) as one, Run("two", seed=5) as two:
        assert one.random.random() == two.random.random()


@pytest.mark.parametrize("name", TESTS)
def test_every_test_tells_its_options_and_counts(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "--short" in told
    assert "--seed" in told
