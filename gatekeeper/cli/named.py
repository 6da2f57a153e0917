"""Files that are named on the command line: looked at before anything else, so that a slip of the pen is told first.

What cannot be read is wrong usage, whatever else is wrong with the machine; what stands in a file is the command's own
business.
"""

import os
import stat
from pathlib import Path
from typing import NoReturn

import click

from gatekeeper.cli.words import EXIT_USAGE, fail


class InputFile(click.Path):
    """A file to read; ends the command with one line when that is not possible."""

    def __init__(self, *, allow_dash: bool = False, allow_number: bool = False, allow_directory: bool = False) -> None:
        """`-` may stand for standard input, a number for a published version, a directory for the files in it."""
        super().__init__(path_type=Path, allow_dash=allow_dash)
        self._allow_number = allow_number
        self._allow_directory = allow_directory

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path."""
        text = str(value)
        stands_for_other = (self.allow_dash and text == "-") or (self._allow_number and text.isdecimal())
        stands_for_other = stands_for_other or (self._allow_directory and Path(text).is_dir())
        if not stands_for_other and not (ctx and ctx.resilient_parsing):
            _check(text, param)
        return Path(value)


def named_octets(path: Path, most: int) -> bytes:
    """What stands in a named file, at most one octet more than `most`; ends the command when it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(most + 1)
    except (OSError, ValueError) as error:
        fail(f"`{path}` {_reason(error)}", code=EXIT_USAGE)


def unwritable(path: Path, error: OSError) -> NoReturn:
    """End the command: a file that was named to be written cannot be."""
    fail(f"`{path}` cannot be written: {error.strerror}", code=EXIT_USAGE)


def _check(text: str, param: click.Parameter | None) -> None:
    reason = _why_unreadable(Path(text)) if text else "is no name of a file"
    if reason is not None:
        where = f"{param.opts[-1]}: " if isinstance(param, click.Option) else ""
        fail(f"{where}`{text}` {reason}", code=EXIT_USAGE)


def _why_unreadable(path: Path) -> str | None:
    """Tried on files only: what is read from a pipe is gone."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
            with path.open("rb") as stream:
                stream.read(1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return _reason(error)
    return None


def _reason(error: OSError | ValueError) -> str:
    return f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"
