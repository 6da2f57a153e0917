"""A value that must never be shown: passwords, tokens, evidence bodies."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Secret(Generic[T]):
    """Hides a value from `repr`, `str`, logs and tracebacks; opened only by `declassify`."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def declassify(self) -> T:
        """Return the value; every call site is greppable."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"
