"""Holding the gate to the transcript of the mail server behind it: what may differ, and what of that is still needed.

A transcript is what was said (`C: …`) and answered, line by line. Rules are laid over both sides before they are
compared; the list of what is allowed may only shrink: an entry without which nothing would differ is reported.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import unified_diff


@dataclass(frozen=True, slots=True)
class Allowed:
    """A difference on purpose: both sides are rewritten to the same before they are compared."""

    reason: str
    pattern: re.Pattern[bytes]
    becomes: bytes | Callable[[re.Match[bytes]], bytes]


Varying = tuple[re.Pattern[bytes], bytes]
"""What differs between any two servers, or any two runs, and what stands in its place on both sides."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One conversation, held with both, and what may differ in it."""

    direct: bytes
    through: bytes
    allowed: Sequence[Allowed]
    varying: Sequence[Varying] = ()

    def difference(self, without: Allowed | None = None) -> str:
        """What differs, as a unified diff; `without` leaves one entry of the list out."""
        rules = [one for one in self.allowed if one is not without]
        sides = [self._rewritten(side, rules) for side in (self.direct, self.through)]
        return "\n".join(unified_diff(sides[0], sides[1], "direct", "through the gate", n=2, lineterm=""))

    def _rewritten(self, transcript: bytes, rules: Iterable[Allowed]) -> list[str]:
        for pattern, becomes in self.varying:
            transcript = pattern.sub(becomes, transcript)
        for one in rules:
            transcript = one.pattern.sub(one.becomes, transcript)
        return transcript.decode("latin-1").split("\n")


def at_once(talk: Callable[[int], bytes], direct: int, through: int) -> tuple[bytes, bytes]:
    """Hold a conversation at both ports side by side: mail servers answer a wrong password late."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(talk, (direct, through))
    return first, second


def stale(pairs: Iterable[Pair]) -> list[str]:
    """What no pair needs: reasons of what is allowed, and patterns of what varies."""
    held = list(pairs)
    allowed = {id(one): one for pair in held for one in pair.allowed}.values()
    varying = {pattern for pair in held for pattern, _ in pair.varying}
    unneeded = [one.reason for one in allowed if not any(one in pair.allowed and pair.difference(one) for pair in held)]
    unmatched = [found.pattern for found in varying if not any(found.search(pair.through) for pair in held)]
    return [*unneeded, *map(repr, unmatched)]


def offer_in_any_order(found: re.Match[bytes]) -> bytes:
    """The words of a list (group 2) as a set, behind what stands before it (group 1)."""
    return found[1] + b" ".join(sorted(set(found[2].split())))
