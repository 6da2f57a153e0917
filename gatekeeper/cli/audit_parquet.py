"""Rows of JSON become an Apache Parquet file: by DuckDB, the extra `parquet`, which is imported only here.

Inside holds: memory is bounded whatever the number of rows; nothing is fetched from anywhere.
"""

from collections.abc import Mapping
from pathlib import Path

from gatekeeper.cli.words import EXIT_USAGE, fail

_MEMORY = "512MB"
_LONGEST_ROW = 16 << 20  # a record has at most a megabyte, which JSON in JSON may make six of


def require_duckdb() -> None:
    """Say so, and end, when it is not installed."""
    try:
        import duckdb  # noqa: F401, PLC0415  an extra
    except ImportError:
        fail("--format parquet needs DuckDB: pip install 'gatekeeper-mail[parquet]'", code=EXIT_USAGE)


def to_parquet(rows: Path, file: Path, columns: Mapping[str, str]) -> None:
    """Write `file`, which is there, from a file with one JSON object a line.

    `columns` are names and SQL types; `TIMESTAMPTZ` is given in milliseconds since 1970. Raises OSError.
    """
    import duckdb  # noqa: PLC0415  an extra

    given = {name: "BIGINT" if kind == "TIMESTAMPTZ" else kind for name, kind in columns.items()}
    chosen = ", ".join(
        f'make_timestamptz("{name}" * 1000) AS "{name}"' if kind == "TIMESTAMPTZ" else f'"{name}"'
        for name, kind in columns.items()
    )
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": 1,
        "autoinstall_known_extensions": False,
    }
    try:
        with duckdb.connect(config=settings) as database:
            source = database.read_json(
                str(rows),
                columns=given,
                format="newline_delimited",
                maximum_object_size=_LONGEST_ROW,
            )
            source.project(chosen).write_parquet(str(file), compression="zstd", use_tmp_file=False)
    except duckdb.Error as error:
        raise OSError(f"DuckDB: {error}") from error
