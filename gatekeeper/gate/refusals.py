"""Credentials that the mail server accepted and the policy refused: remembered briefly, for phones that retry for ever.

What holds inside:

* What is remembered is a digest under a key of this process; the credentials are not here.
* Only what the mail server accepted gets in, so a wrong password is never found. Whoever finds something here has just
  shown the very same account, secret, mechanism, client certificate and listener again.
* An entry is no verdict: whoever finds it decides again (`Gate.refuse_again`), and a decision that differs in anything
  forgets it. A change of policy, devices, evidence, exemptions or time is thus never answered from memory.
* It ages from the moment the mail server spoke, and is forgotten when the mail server refuses the account anything.
"""

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from gatekeeper.domain.decision import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalSettings:
    """How long and how much is remembered."""

    remember_for_s: float = 600.0
    """From the mail server's word on; 0 remembers nothing. Dovecot's auth_cache_ttl is an hour: here a password that
    was changed meanwhile may still be told the policy's refusal, so it is shorter."""
    max_entries: int = 4096
    """The longest unused goes first; a few hundred octets each."""


@dataclass(slots=True)
class _Entry:
    account: str
    decision: Decision
    since: float


class Refusals:
    """Remembered refusals of one process; `now` is monotonic seconds."""

    __slots__ = ("_by_account", "_entries", "_key", "answered", "settings")

    def __init__(self, settings: RefusalSettings) -> None:
        self.settings = settings
        self.answered = 0
        """Log-ins that were answered from memory, counted by whoever answered."""
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._by_account: dict[str, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def digest(self, *parts: bytes) -> bytes:
        """The HMAC-SHA256 of the parts, told apart by their lengths."""
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, framed, "sha256")

    def knows(self, account: str) -> bool:
        """Whether anything is remembered of it: mostly not, and then there is nothing to look for."""
        return account in self._by_account

    def remember(self, digest: bytes, account: str, decision: Decision, now: float) -> None:
        """These credentials were right, and refused by this decision."""
        if self.settings.remember_for_s <= 0:
            return
        self._drop(digest)
        while len(self._entries) >= self.settings.max_entries:
            self._drop(next(iter(self._entries)))
        self._entries[digest] = _Entry(account, decision, now)
        self._by_account.setdefault(account, set()).add(digest)

    def find(self, digest: bytes, now: float) -> Decision | None:
        """The decision that refused these very credentials a short while ago."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if now - entry.since >= self.settings.remember_for_s:
            self._drop(digest)
            return None
        self._entries.move_to_end(digest)
        return entry.decision

    def forget(self, account: str) -> None:
        """Nothing about this account holds any more."""
        for digest in tuple(self._by_account.get(account, ())):
            self._drop(digest)

    def _drop(self, digest: bytes) -> None:
        entry = self._entries.pop(digest, None)
        if entry is None:
            return
        digests = self._by_account[entry.account]
        digests.discard(digest)
        if not digests:
            del self._by_account[entry.account]
