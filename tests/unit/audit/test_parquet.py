"""Parquet files read back by another implementation, DuckDB's."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatekeeper.audit import parquet
from gatekeeper.audit.parquet import Column, Kind, ParquetFile, Value

COLUMNS = (
    Column("instant", Kind.INSTANT),
    Column("number", Kind.NUMBER),
    Column("words", Kind.TEXT),
    Column("list", Kind.TEXTS),
    Column("document", Kind.JSON),
    *(Column(f"more_{number}", Kind.NUMBER) for number in range(12)),
)
MORE = tuple(range(12))


def written(path: Path, rows: Sequence[Sequence[Value]]) -> Path:
    file = ParquetFile(COLUMNS)
    octets = [file.begin(), *(file.add((*row, *MORE)) for row in rows), file.end()]
    path.write_bytes(b"".join(octets))
    return path


def read(path: Path) -> list[tuple[object, ...]]:
    columns = "epoch_ms(instant), number, words, list, document"
    with duckdb.connect() as database:
        return database.execute(f"select {columns} from read_parquet(?)", [str(path)]).fetchall()


ROWS: list[tuple[Value, ...]] = [
    (1594400400123, 5, "a", ("x", "y"), '{"a":1}'),
    (0, None, None, (), None),
    (10, -(2**63), "é\nf", ("z", "", "ä"), "[]"),
    (11, 2**63 - 1, "", ("q",) * 1000, '""'),
    (None, 0, "w" * 100_000, (), "null"),
]


@pytest.mark.parametrize("rows_a_group", [1, 2, 5, 50])
def test_what_was_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_a_group: int) -> None:
    """Numbers, texts, lists, and what is not there; in one row group or several."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", rows_a_group)
    path = written(tmp_path / "file.parquet", ROWS)
    assert [(*row[:3], tuple(row[3]), row[4]) for row in read(path)] == ROWS  # type: ignore[arg-type]
    with duckdb.connect() as database:
        groups = database.execute(
            "select count(distinct row_group_id) from parquet_metadata(?)", [str(path)]
        ).fetchone()
        types = dict(
            database.execute(
                "select column_name, column_type from (describe from read_parquet(?))", [str(path)]
            ).fetchall()
        )
    assert groups == (-(-len(ROWS) // rows_a_group),)
    assert list(types.values())[:5] == ["TIMESTAMP", "BIGINT", "VARCHAR", "VARCHAR[]", "JSON"]
    assert list(types) == [column.name for column in COLUMNS]


def test_nothing_is_a_file_too(tmp_path: Path) -> None:
    """With its columns."""
    assert read(written(tmp_path / "file.parquet", [])) == []


def test_what_does_not_fit_is_made_to(tmp_path: Path) -> None:
    """Numbers beyond 64 bits, halves of characters."""
    path = written(tmp_path / "file.parquet", [(1, 2**70, "\ud800", (), None), (1, -(2**70), "", (), None)])
    assert [row[1:3] for row in read(path)] == [(2**63 - 1, "?"), (-(2**63), "")]


def test_memory_is_one_row_group() -> None:
    """A group is given out as soon as it is full."""
    file = ParquetFile([Column("words", Kind.TEXT)])
    file.begin()
    given_out = [len(file.add(("w" * 100_000,))) for _ in range(200)]
    assert [number for number, octets in enumerate(given_out) if octets] == [83, 167]
    assert file._buffers[0].values.__sizeof__() < 10_000_000


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**40),
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.text(max_size=20).map(lambda text: text.replace("\0", "")),
            st.lists(st.text(alphabet="abcé", max_size=5), max_size=4).map(tuple),
            st.just("{}"),
        ),
        max_size=20,
    ),
    rows_a_group=st.integers(1, 7),
)
def test_any_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[Value, ...]], rows_a_group: int
) -> None:
    """Come back as they were."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", rows_a_group)
    found = read(written(tmp_path / "file.parquet", rows))
    assert [(*row[:3], tuple(row[3]), row[4]) for row in found] == rows  # type: ignore[arg-type]
