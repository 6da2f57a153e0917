"""Tells the demo's story: in words as it happens, or as one document for machines; and keeps what was expected."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

import click

_COLUMN = 80
"""Where timings stand."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that had to hold."""

    step: int
    text: str
    held: bool
    seconds: float | None


@dataclass(slots=True)
class Teller:
    """Where the story goes."""

    is_silent: bool
    """Nothing is told; `document` is asked for at the end."""
    step: int = 0
    expectations: list[Expectation] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    """What `document` says beside the expectations."""
    is_coloured: bool = field(default_factory=lambda: sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

    def title(self, text: str) -> None:
        """Begin the story."""
        self._say(self._styled(text, bold=True))

    def chapter(self, text: str) -> None:
        """Begin a step."""
        self.step += 1
        self._say("")
        self._say(self._styled(f"{self.step}  {text}", bold=True))

    def note(self, text: str) -> None:
        """Tell something that nobody had to expect."""
        self._say(f"   {text}")

    def notes(self, lines: Iterable[str]) -> None:
        """Tell several things."""
        for line in lines:
            self.note(line)

    def expect(self, text: str, *, held: bool, seconds: float | None = None) -> None:
        """Tell something that had to hold, and how long it took."""
        self.expectations.append(Expectation(self.step, text, held, seconds))
        word = self._styled("ok    ", fg="green") if held else self._styled("FAILED", fg="red", bold=True)
        took = "" if seconds is None else f"{seconds * 1000:7.0f} ms"
        self._say(f"   {word} {text.ljust(_COLUMN) if took else text}{took}")

    @property
    def failures(self) -> list[Expectation]:
        """What did not hold."""
        return [one for one in self.expectations if not one.held]

    def document(self) -> dict[str, object]:
        """The story for machines."""
        expectations = [
            {"step": one.step, "text": one.text, "held": one.held, "seconds": one.seconds and round(one.seconds, 4)}
            for one in self.expectations
        ]
        return {"ok": not self.failures, **self.facts, "expectations": expectations}

    def _say(self, text: str) -> None:
        if not self.is_silent:
            click.echo(text, color=self.is_coloured)

    def _styled(self, text: str, *, fg: str | None = None, bold: bool = False) -> str:
        return click.style(text, fg=fg, bold=bold) if self.is_coloured else text
