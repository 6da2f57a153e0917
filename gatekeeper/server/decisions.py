"""`GET /v1/decision`: what would be decided about a session, and why, for the person and for the operator.

What holds inside:

* A question with a fault is refused with what is wrong and what to do; nothing is guessed, no parameter overlooked.
* Nobody's log-in waits for an answer: tracing every predicate of a large policy takes a while, so it is done in a
  thread, one question at a time.
* The answer is about a person: it is never kept by a cache.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

from aiohttp import web

from gatekeeper.decision.answer import Depth, answer
from gatekeeper.decision.message import clean
from gatekeeper.decision.schema_values import LANGUAGE
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.document import parse_instant, suggestion
from gatekeeper.domain.identity import canonical_account
from gatekeeper.domain.posture import Assurance, Binding, Posture, Subject
from gatekeeper.domain.request import MailProtocol, Request

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper

T = TypeVar("T")

PARAMETERS = (
    *("user", "device", "protocol", "listener", "address", "at"),
    *("depth", "lang", "tz", "all_rules"),
)
MAX_LANGUAGES = 10
"""More than anybody reads."""
_MAX_SHOWN = 64
_MAX_DEVICE = 255
_LANGUAGE = re.compile(LANGUAGE, re.ASCII | re.IGNORECASE)
_QUALITY = re.compile(r"[qQ]=([01](?:\.[0-9]{0,3})?)")


class BadQuestion(Exception):
    """The parameters make no sense."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and how the answer is wanted."""

    request: Request
    device_id: DeviceId | None
    at: datetime | None
    depth: Depth
    zone: tzinfo | None
    every_rule: bool


class Decisions:
    """Answers questions about decisions."""

    def __init__(self, gatekeeper: "Gatekeeper") -> None:
        self._gatekeeper = gatekeeper
        self._one_at_a_time = asyncio.Semaphore(1)

    async def ask(self, asked: web.Request) -> web.Response:
        """Handle one request."""
        try:
            question = self._read(asked)
        except BadQuestion as fault:
            return web.json_response({"error": fault.code, "detail": fault.detail}, status=400)
        gatekeeper, request = self._gatekeeper, question.request
        subject = _subject(await gatekeeper.directory.of_account(request.account), question.device_id)
        policy = gatekeeper.gate.ruling.policy_for(subject, request.account)
        now = question.at or gatekeeper.clock.now()
        async with self._one_at_a_time:
            document = await asyncio.to_thread(
                answer,
                policy,
                subject,
                request,
                now,
                depth=question.depth,
                check_url=gatekeeper.settings.check_url,
                zone=question.zone,
                every_rule=question.every_rule,
            )
        headers = {"Cache-Control": "no-store", "Vary": "Accept-Language"}
        person = document.get("person")
        if question.depth is Depth.PERSON and isinstance(person, dict):
            headers["Content-Language"] = str(person["language"])
        return web.json_response(document, headers=headers)

    def _read(self, asked: web.Request) -> Question:
        given = _once_each(asked.query.items())
        settings = self._gatekeeper.settings
        account = canonical_account(given.get("user", ""), settings.accounts.names)
        if account is None:
            raise BadQuestion("user-is-required", "user: name the mail login to ask about, such as alice@example.com")
        protocol, listener = self._place(given)
        return Question(
            request=Request(
                account=account,
                protocol=protocol,
                listener=listener,
                client_address=_value(given, "address", _address) or "",
                languages=_languages(given.get("lang"), asked.headers.getall("Accept-Language", ())),
            ),
            device_id=_value(given, "device", _device),
            at=_value(given, "at", _instant),
            depth=_value(given, "depth", _depth) or Depth.BOTH,
            zone=_value(given, "tz", _zone),
            every_rule=_value(given, "all_rules", _yes) or False,
        )

    def _place(self, given: Mapping[str, str]) -> tuple[MailProtocol, str]:
        """The protocol and the listener of the session: each follows from the other."""
        settings = self._gatekeeper.settings
        named = {one.name: one.protocol for one in settings.listeners}
        listener = given.get("listener")
        if listener is not None and listener not in named:
            near = suggestion(listener, sorted(named)) or f"; there are {', '.join(named)}"
            raise BadQuestion("unknown-listener", f"listener: there is no listener `{_shown(listener)}`{near}")
        protocol = _value(given, "protocol", _protocol)
        if listener is None:
            protocol = protocol or MailProtocol.IMAP
            return protocol, settings.first_listener(protocol)
        if protocol not in (None, named[listener]):
            raise BadQuestion("unknown-listener", f"listener: `{listener}` speaks {named[listener].value}")
        return named[listener], listener


def accepted_languages(header: str) -> tuple[str, ...]:
    """The tags of an Accept-Language (RFC 9110 §12.5.4), preferred first; what is no tag is passed over."""
    weighed: list[tuple[float, str]] = []
    for part in header.split(",")[: 4 * MAX_LANGUAGES]:
        tag, *parameters = (piece.strip() for piece in part.split(";"))
        if _LANGUAGE.fullmatch(tag) is None:
            continue
        found = _QUALITY.fullmatch(parameters[0]) if parameters else None
        quality = min(float(found[1]), 1.0) if found else 1.0
        if quality > 0:
            weighed.append((quality, tag))
    weighed.sort(key=lambda each: -each[0])
    return tuple(tag for _, tag in weighed[:MAX_LANGUAGES])


def _subject(postures: Sequence[Posture], device_id: DeviceId | None) -> Subject:
    """Whom the session would be about: tied to the device when one is named, else to the user.

    Like the gate: somebody else's device is an unknown one, and nothing of it is told.
    """
    if device_id is None:
        return Subject(binding=Binding(assurance=Assurance.USER, method="user"), postures=tuple(postures))
    binding = Binding(assurance=Assurance.PROVEN, method="client_certificate", claimed_device=device_id)
    own = tuple(posture for posture in postures if posture.device.device_id == device_id)
    return Subject(binding=binding, postures=own)


def _once_each(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in PARAMETERS:
            near = suggestion(name, PARAMETERS) or f"; there are {', '.join(PARAMETERS)}"
            raise BadQuestion("unknown-parameter", f"there is no parameter `{_shown(name)}`{near}")
        if name in given:
            raise BadQuestion("given-twice", f"{name}: is given twice")
        given[name] = value
    return given


def _value(given: Mapping[str, str], name: str, read: Callable[[str], T]) -> T | None:
    return read(given[name]) if name in given else None


def _shown(text: str) -> str:
    """What was sent, as one short line of plain text."""
    return clean(text)[:_MAX_SHOWN]


def _protocol(text: str) -> MailProtocol:
    try:
        return MailProtocol(text)
    except ValueError:
        known = ", ".join(protocol.value for protocol in MailProtocol)
        raise BadQuestion("unknown-protocol", f"protocol: `{_shown(text)}` is not one of {known}") from None


def _depth(text: str) -> Depth:
    try:
        return Depth(text)
    except ValueError:
        known = ", ".join(depth.value for depth in Depth)
        raise BadQuestion("unknown-depth", f"depth: `{_shown(text)}` is not one of {known}") from None


def _device(text: str) -> DeviceId:
    if not 0 < len(text) <= _MAX_DEVICE or not text.isprintable():
        raise BadQuestion("bad-device", f"device: `{_shown(text)}` is not the id of a device")
    return DeviceId(text)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise BadQuestion("bad-address", f"address: `{_shown(text)}` is not an IP address") from None


def _instant(text: str) -> datetime:
    found = parse_instant(text)
    if found is None:
        advice = " (a `+` is written %2B)" if " " in text else ""
        example = "2020-07-10T17:00:00-07:00"
        raise BadQuestion("bad-time", f"at: `{_shown(text)}` is not a date or a time such as {example}{advice}")
    return found


def _zone(text: str) -> tzinfo:
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        reason = f"tz: `{_shown(text)}` is not a time zone such as Europe/Berlin"
        raise BadQuestion("unknown-time-zone", reason) from None


def _yes(text: str) -> bool:
    if text not in ("", "true", "false"):
        raise BadQuestion("bad-value", f"all_rules: `{_shown(text)}` is not true or false")
    return text != "false"


def _languages(text: str | None, headers: Sequence[str]) -> tuple[str, ...]:
    """`lang` in the place of what the browser says."""
    if text is None:
        return accepted_languages(",".join(headers))
    tags = [tag.strip() for tag in text.split(",")]
    wrong = next((tag for tag in tags if _LANGUAGE.fullmatch(tag) is None), None)
    if wrong is not None or len(tags) > MAX_LANGUAGES:
        reason = f"`{_shown(wrong)}` is not a language tag such as de" if wrong is not None else "are too many"
        raise BadQuestion("bad-language", f"lang: {reason}; separate several by commas, preferred first")
    return tuple(tags)
