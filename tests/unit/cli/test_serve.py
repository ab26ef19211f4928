"""The arguments of `pyzdb serve`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyzdb.cli.serve import options_of, parser


@pytest.mark.parametrize("number", ["-1", "x", "1.5", ""])
def test_a_number_must_be_0_or_more(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser("serve").parse_args([f"--history-limit={number}"])
    assert "0 or more" in capsys.readouterr().err


def test_a_folder_of_files_must_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(tmp_path), str(tmp_path / "none")]
    assert parser().parse_args(["--files-from", folders[0]]).files_from == folders[:1]
    with pytest.raises(SystemExit):
        parser().parse_args(["--files-from", folders[1]])
    assert f"there is no folder {folders[1]}" in capsys.readouterr().err


def test_a_server_that_only_reads_runs_no_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options_of(["-ro", "--exec"])
    assert "--exec is for the server that keeps the database" in capsys.readouterr().err
