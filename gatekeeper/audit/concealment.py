"""Which parts of an event name somebody, and what stands there instead.

Names come to a record as facts of their own (account, device) and within texts: the filters of a search, the reason of
a refusal that quotes a file, a mail address in somebody's words. Every text of an event goes through `text`.

Inside holds: nothing is decided by it, and nothing is kept; `Names` gives the pseudonym of a name, and sees to it that
it can be found again before the record is acknowledged.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.pseudonyms import PSEUDONYM, Kind

_ADDRESS = re.compile(r"[^\s\"'`<>()\[\]{},;:=|\\/]+@[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?")
_FILTER = re.compile(r"(?<![\w-])(?:--)?(user|device)[= ](\S+)")
_DEVICE = re.compile(r"(?<=device `)[^`]+(?=`)")
_QUOTED = re.compile(r"(?<=`)[^`]+(?=`)")
_QUOTING = frozenset({EventCode.INVENTORY_REJECTED, EventCode.EVIDENCE_REJECTED})
"""What these say was wrong is quoted from a file or a token about devices and people."""

_FACTS: Mapping[str, Kind] = {
    "authcid": Kind.PERSON,
    "account": Kind.PERSON,
    "user": Kind.PERSON,
    "device_id": Kind.DEVICE,
    "device": Kind.DEVICE,
    "client_id": Kind.CLIENT,
}
"""Facts that are a name as a whole."""


class Names(Protocol):
    """Where pseudonyms come from."""

    def pseudonym(self, kind: Kind, name: str, at: datetime) -> str:
        """Of a name, in the quarter of that instant."""
        ...


class Concealment:
    """The names of one event, and what stands in their place."""

    __slots__ = ("_at", "_code", "_names", "_said")

    def __init__(self, event: Event, names: Names) -> None:
        self._code = event.code
        self._at = event.time
        self._names = names
        self._said: dict[str, str] = {}
        """The names that the event has as facts of their own: in its texts they are hidden as well."""
        decision = event.decision
        if event.account is not None:
            self.person(event.account)
        if decision is not None:
            if decision.device_id is not None:
                self.device(decision.device_id)
            if decision.binding.claimed_device:
                self.device(decision.binding.claimed_device)
        for name in ("device_id", "authcid"):
            value = event.detail.get(name)
            if isinstance(value, str) and value:
                self._of(_FACTS[name], value)

    def person(self, account: str) -> str:
        """The pseudonym of an account."""
        return self._of(Kind.PERSON, account)

    def device(self, device_id: str) -> str:
        """The pseudonym of a device."""
        return self._of(Kind.DEVICE, device_id)

    def fact(self, name: str, value: str) -> str:
        """A fact of the event with its names hidden."""
        kind = _FACTS.get(name)
        if kind is not None:
            return self._of(kind, value) if value else value
        return self.text(value)

    def text(self, text: str) -> str:
        """A text with its names hidden."""
        for name, shown in self._said.items():
            if name in text:
                text = re.sub(rf"(?<![\w.@-]){re.escape(name)}(?![\w@-])", shown, text)
        if self._code in _QUOTING:
            text = _QUOTED.sub(lambda match: self._hidden(Kind.CLIENT, match[0]), text)
        elif "=" in text or "--" in text:
            text = _FILTER.sub(self._filtered, text)
        if "`" in text:
            text = _DEVICE.sub(lambda match: self._hidden(Kind.DEVICE, match[0]), text)
        if "@" in text:
            text = _ADDRESS.sub(lambda match: self._hidden(Kind.PERSON, match[0].lower()), text)
        return text

    def _of(self, kind: Kind, name: str) -> str:
        shown = self._said[name] = self._hidden(kind, name)
        return shown

    def _hidden(self, kind: Kind, name: str) -> str:
        return name if PSEUDONYM.fullmatch(name) else self._names.pseudonym(kind, name, self._at)

    def _filtered(self, match: re.Match[str]) -> str:
        kind = Kind.PERSON if match[1] == "user" else Kind.DEVICE
        name = match[2].lower() if kind is Kind.PERSON else match[2]
        return f"{match[0][: -len(match[2])]}{self._hidden(kind, name)}"
