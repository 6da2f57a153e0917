"""A progress bar on stderr, where somebody looks at it; elsewhere nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Gives what to call with the number of steps done since the last call."""
    if not sys.stderr.isatty():
        yield _nowhere
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update


def _nowhere(_steps: int) -> None:
    """Nobody looks."""
