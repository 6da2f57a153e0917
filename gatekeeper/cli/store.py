"""What `inventory` and `device` share: the registry, open for the length of one command."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.engine import StoreError
from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.cli.words import EXIT_CONFIG, EXIT_TRY_AGAIN, EXIT_USAGE, fail, load_settings
from gatekeeper.ports.devices import Unavailable

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., None])

_SELDOM = (50_000, 20, 100)
"""A command makes very many objects, hardly any in a circle: looking for circles after every 700, as Python does,
takes two fifths of the time of a plan for a million devices. A few megabytes of garbage may wait."""

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def store_option(command: Command) -> Command:
    """Add `--store`, which takes the place of the configured address."""
    return click.option("--store", metavar="URL", help="The database (default: `store.url` of the configuration).")(
        command
    )


def in_registry(
    config_path: Path, store: str | None, work: Callable[[SqlRegistry], Awaitable[T]], *, may_make: bool = False
) -> T:
    """Run `work` on the registry; ends the command when the store cannot be opened or does not answer.

    `may_make`: a file that `--store` names need not be there yet.
    """
    return in_store(config_path, store, lambda engine: work(SqlRegistry(engine)), may_make=may_make)


def in_store(
    config_path: Path, store: str | None, work: Callable[[AsyncEngine], Awaitable[T]], *, may_make: bool = False
) -> T:
    """Run `work` on the database; ends the command when it cannot be opened or does not answer."""
    if store is not None and not may_make:
        _look_for(store)
    url = store or load_settings(config_path).store_url
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        return asyncio.run(_work(url, work))
    except StoreError as error:
        fail(str(error), code=EXIT_CONFIG)
    except Unavailable as error:
        fail(str(error), code=EXIT_TRY_AGAIN)
    finally:
        gc.set_threshold(*before)


def _look_for(store: str) -> None:
    """A slip of the pen must not make an empty database, in which nobody is registered."""
    path = Path(store.removeprefix("sqlite:///"))
    if store.startswith("sqlite:///") and not path.exists():
        fail(f"--store: there is no file `{path}`: `gatekeeper inventory import` makes it", code=EXIT_USAGE)


def duration_words(duration: timedelta) -> str:
    """A duration for people, in its two largest units: `2 d 4 h`, `12 min`, `0 s`."""
    left = int(duration.total_seconds())
    sign, left = ("-" if left < 0 else ""), abs(left)
    for place, (unit, seconds) in enumerate(_UNITS):
        count, rest = divmod(left, seconds)
        if not count:
            continue
        finer, finer_s = _UNITS[min(place + 1, len(_UNITS) - 1)]
        more = rest // finer_s
        return f"{sign}{count} {unit} {more} {finer}" if more and finer != unit else f"{sign}{count} {unit}"
    return "0 s"


async def _work(url: str, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    async with open_store(url) as engine:
        return await work(engine)
