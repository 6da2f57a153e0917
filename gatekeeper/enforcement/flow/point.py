"""What a protocol's package under `enforcement` offers as `POINT`: all that the composition needs to know of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.dialogue import DialogueLimits, NewDialogue
from gatekeeper.protocols.login import LoginClient


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSettings:
    """What the configuration says to every enforcement point."""

    hostname: str
    """What we greet as."""
    refusal_code: str
    """Response code of a refusal by policy, where the protocol has such codes."""
    loop: asyncio.AbstractEventLoop
    limits: DialogueLimits = field(default_factory=DialogueLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnforcementPoint:
    """One protocol: its dialogue with phones, and its log-in at the mail server."""

    protocol: MailProtocol
    new_dialogue: Callable[[PointSettings], NewDialogue]
    probe: Callable[[bool], LoginClient]
    """A log-in client without credentials, which only learns what the mail server offers; True: by STARTTLS."""
    tells_address: tuple[str, ...]
    """How the mail server can be told the phone's address: of `id`, `proxy`, `proxy-v2`, `xclient`, `none`."""
    last_words: bytes
    """For live sessions that end because we shut down."""
    alpn: str = ""
    """Its name in ALPN (RFC 7301), where that is not the protocol's own."""
