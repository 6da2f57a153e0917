"""Rows become a Parquet file that DuckDB reads back; without DuckDB the command says what to install."""

import json
import sys
from pathlib import Path

import duckdb
import pytest

from gatekeeper.cli.audit_parquet import require_duckdb, to_parquet

COLUMNS = {"instant": "TIMESTAMPTZ", "number": "BIGINT", "words": "VARCHAR", "list": "VARCHAR[]"}
ROWS: list[tuple[int | None, int | None, str | None, list[str]]] = [
    (1594400400123, 5, "a", ["x", "y"]),
    (0, None, None, []),
    (253402300799999, -(2**63), 'é\n"f', ["z", "", "ä"]),
    (11, 2**63 - 1, "", ["q"] * 1000),
    (None, 0, "w" * 1_000_000, []),
]


def written(directory: Path) -> Path:
    rows, file = directory / "rows", directory / "file.parquet"
    rows.write_text("".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in ROWS))
    file.touch(mode=0o600)
    to_parquet(rows, file, COLUMNS)
    return file


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Numbers at their bounds, instants to the millisecond, texts, lists, and what is not there; in their order."""
    file = written(tmp_path)
    with duckdb.connect() as database:
        asked = "select epoch_ms(instant), number, words, list from read_parquet(?)"
        assert database.execute(asked, [str(file)]).fetchall() == ROWS
        described = database.execute("describe from read_parquet(?)", [str(file)]).fetchall()
    assert {name: kind for name, kind, *_ in described} == COLUMNS | {"instant": "TIMESTAMP WITH TIME ZONE"}
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_rows_are_a_file_too(tmp_path: Path) -> None:
    """With its columns."""
    rows, file = tmp_path / "rows", tmp_path / "file.parquet"
    rows.touch()
    to_parquet(rows, file, COLUMNS)
    with duckdb.connect() as database:
        assert database.execute("select count(words) from read_parquet(?)", [str(file)]).fetchall() == [(0,)]


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Of the file system, as any other file's."""
    rows = tmp_path / "rows"
    rows.touch()
    with pytest.raises(OSError, match="DuckDB"):
        to_parquet(rows, tmp_path / "nowhere" / "file.parquet", COLUMNS)


def test_without_duckdb_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and exit code 2."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(SystemExit) as ended:
        require_duckdb()
    assert ended.value.code == 2
    assert "gatekeeper-mail[parquet]" in capsys.readouterr().err
