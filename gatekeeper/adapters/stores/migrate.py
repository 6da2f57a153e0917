"""Bringing a database up to the tables of this version, at every start.

All steps run in one write transaction, so that of several processes that start at once one migrates and the others
wait and find nothing left to do, and a process that is killed half-way leaves the database as it was. Alembic is only
imported when there is a step to run: a running server has no use for it; and before the transaction begins, for which
the others wait for a few seconds only.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.engine import StoreError, close_engine, open_engine, reading, writing
from gatekeeper.ports.devices import Unavailable

HEAD = "0003"
"""The revision this version works with: the last module in `migrations/versions`."""
_SCRIPTS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[AsyncEngine]:
    """Open the database of `url`, migrated; closed when the block ends. Raises `StoreError`."""
    engine = await open_engine(url)
    try:
        await migrate(engine)
        yield engine
    finally:
        await close_engine(engine)


async def migrate(engine: AsyncEngine) -> None:
    """Run the steps that the database lacks. Raises `StoreError` when it cannot be brought to `HEAD`."""
    try:
        async with reading(engine) as connection:
            if await connection.run_sync(_revision) == HEAD:
                return
        upgrade = _upgrading()
        async with writing(engine) as connection:
            await connection.run_sync(upgrade)
    except Unavailable as exc:
        raise StoreError(f"{engine.url.database}: cannot be migrated: {exc}") from exc


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return revision


def _upgrading() -> Callable[[Connection], None]:
    from alembic import command  # noqa: PLC0415  see the module docstring
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")

    def upgrade(connection: Connection) -> None:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as exc:
            raise StoreError(
                f"{connection.engine.url.database}: has the schema `{_revision(connection)}`, which this version does "
                "not know: it was written by a newer gatekeeper; install that version, or restore a backup"
            ) from exc

    return upgrade
