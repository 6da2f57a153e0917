"""What a test of `gatekeeper doctor` finds."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a test went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One test's result, and what to do about it."""

    test: str
    state: State
    found: str
    advice: str = ""
