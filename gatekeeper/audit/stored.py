"""A line of the log read back: what verification needs, checked, and what people ask for, tolerant.

Inside holds: nothing read here is believed. `read` checks the fields of the chain and raises `ValueError` for
anything else than a record; every other field may be absent or of a wrong type and then reads as None or empty.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from gatekeeper.audit.codes import CLASSIFICATIONS, Word
from gatekeeper.audit.event import EventCode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WORDS: Mapping[str, Word] = {code.value: row.word for code, row in CLASSIFICATIONS.items()}
LATEST_MS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z, the last instant that datetime can say."""

_NOTHING: Mapping[str, object] = {}


class StoredRecord:
    """A record of the log; `document` is the whole of it as parsed."""

    __slots__ = ("code", "document", "facts", "log", "prev", "sequence", "time_ms")

    def __init__(self, document: Mapping[str, object]) -> None:
        metadata = _table(document, "metadata")
        facts = _table(_table(document, "unmapped"), "gatekeeper")
        self.document = document
        self.facts = facts
        """`unmapped.gatekeeper`."""
        self.sequence = _whole(metadata.get("sequence"), "metadata.sequence")
        self.time_ms = _whole(document.get("time"), "time")
        self.code = _some_text(metadata.get("event_code"), "metadata.event_code")
        self.log = _some_text(facts.get("log"), "unmapped.gatekeeper.log")
        self.prev = _some_text(facts.get("prev"), "unmapped.gatekeeper.prev")
        if not _DIGEST.fullmatch(self.prev):
            raise ValueError("`unmapped.gatekeeper.prev` is not a SHA-256")

    @property
    def time(self) -> datetime:
        """When it happened, aware UTC."""
        return _EPOCH + timedelta(milliseconds=self.time_ms)

    @property
    def is_of_many(self) -> bool:
        """Whether it stands for several that were counted, the last of them at its time."""
        return "start_time" in self.document

    @property
    def word(self) -> str:
        """What it means for the session in one word."""
        return word_of(self.code)

    @property
    def account(self) -> str | None:
        """Who, by name or by pseudonym."""
        document = self.document
        for holder in (document, _table(document, "actor")):
            name = _person(_table(holder, "user"))
            if name is not None:
                return name
        return _person(_table(_table(document, "device"), "owner"))

    @property
    def device(self) -> str | None:
        """The device's id, registered or only claimed."""
        return _text(_table(self.document, "device").get("uid")) or self.text("claimed_device")

    @property
    def address(self) -> str | None:
        """The client's address, cut to `address_bits`."""
        return _text(_table(self.document, "src_endpoint").get("ip"))

    @property
    def address_bits(self) -> int | None:
        """How many bits of the address were kept; None: it is whole."""
        return self.number_at("unmapped", "gatekeeper", "src_prefix")

    @property
    def protocol(self) -> str | None:
        """Mail protocol of the connection."""
        document = self.document
        return _text(_table(document, "dst_endpoint").get("svc_name")) or _text(_table(document, "service").get("name"))

    @property
    def message(self) -> str:
        """The line for people."""
        return _text(self.document.get("message")) or ""

    @property
    def count(self) -> int:
        """How many alike it stands for; 1 when it does not say."""
        count = self.document.get("count")
        return count if isinstance(count, int) and count > 0 else 1

    def at(self, *path: str) -> object:
        """The value at a path of names, None where there is none."""
        value: object = self.document
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def text_at(self, *path: str) -> str | None:
        """The text at a path of names, None where there is none."""
        return _text(self.at(*path))

    def number_at(self, *path: str) -> int | None:
        """The whole number at a path of names, None where there is none."""
        value = self.at(*path)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def text(self, name: str) -> str | None:
        """A text among `facts`."""
        return _text(self.facts.get(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts among `facts`."""
        value = self.facts.get(name)
        return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def read(line: bytes) -> StoredRecord:
    """Parse a line (its newline may be left on).

    Raises:
        ValueError: it is no record; the text says why.
    """
    try:
        document: object = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:
        raise ValueError("not JSON in UTF-8") from error
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  one kind of error for one kind of fault
    return StoredRecord(document)


def why(record: StoredRecord) -> str:
    """The reason in words: the message, with the rules and apps that it does not already name."""
    message = record.message
    more = [f"app {app}" for app in record.texts("matched") if app.partition(":")[2] not in message]
    more += [f"rule {rule}" for rule in record.texts("rules") if rule not in message]
    more += [f"exemption {name}" for name in record.texts("exemptions") if name not in message]
    if record.count > 1:
        more.append(f"{record.count} times")
    return f"{message} ({', '.join(more)})" if more else message


def stamp(milliseconds: int | None) -> str | None:
    """An instant of a record as RFC 3339 in UTC; None for what no calendar has."""
    if milliseconds is None or not 0 <= milliseconds <= LATEST_MS:
        return None
    at = _EPOCH + timedelta(milliseconds=milliseconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def word_of(code: str) -> str:
    """The word for a code; the code itself when this version does not know it."""
    return _WORDS.get(code, code)


def is_event_code(code: str) -> bool:
    """Whether this version knows the code."""
    return code in _WORDS


def codes_of(word: str) -> frozenset[str]:
    """The codes that mean `word`."""
    return frozenset(code for code, meaning in _WORDS.items() if meaning == word)


LOG_OPENED, LOG_CLOSED, TAIL_RECOVERED, LOG_PRUNED = (
    EventCode.LOG_OPENED.value,
    EventCode.LOG_CLOSED.value,
    EventCode.TAIL_RECOVERED.value,
    EventCode.LOG_PRUNED.value,
)


def _table(holder: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = holder.get(name)
    return value if isinstance(value, dict) else _NOTHING


def _person(user: Mapping[str, object]) -> str | None:
    name = user.get("name")
    return name if isinstance(name, str) else _text(user.get("uid"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _some_text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"`{name}` is missing or no text")
    return value


def _whole(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LATEST_MS:
        raise ValueError(f"`{name}` is missing or no whole number in range")
    return value
