"""What the phone's owner is told: the default texts, and the one line that every protocol's reply is made of.

INVARIANT: what `render` returns fits, joined by a space, into one line of at most 400 octets of UTF-8 and contains no
control, format or line-breaking character, whatever the app on the phone calls itself.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from zoneinfo import ZoneInfo

from gatekeeper.domain.decision import Message, Reason, Verdict

MAX_LINE_OCTETS = 400
"""RFC 5321 §4.5.3.1.5 allows 512 for a reply line with its codes, CR and LF; IMAP clients show one line."""

PLACEHOLDERS: Mapping[str, int] = MappingProxyType({"app": 40, "check_url": 80, "deadline": 20, "code": 16})
"""What a text may contain in braces, and the octets that are set aside for each."""

_MAX_APP_OCTETS = 40  # the longest names in app stores have 30 (Apple) or 50 (Google Play) characters
_MAX_CODE_OCTETS = 16
_LONGER_ZONE = 3  # `+1245` is the longest that zoneinfo gives
_BRACES = re.compile(r"\{([^{}]*)\}")
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ELLIPSIS = "..."
_PLAIN = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u201e": '"',
        "\u2013": "-",
        "\u2014": "-",
        "\u2026": _ELLIPSIS,
        "\u00df": "ss",
    }
)

_REPORT = "Open the management or agent app on it and let it report, then open {check_url} and press Check again."
_REGISTER = "Register it at {check_url}, or ask your help desk."

_PAUSED: Mapping[Reason, Message] = MappingProxyType(
    {
        Reason.APP_MATCH: Message(
            short="Mail is paused: {app} is on this device and is not allowed.",
            fix="Remove {app}, then open {check_url} and press Check again.",
        ),
        Reason.APP_MATCH_UNCERTAIN: Message(
            short="Mail is paused: {app} is on this device and may be a version that is not allowed.",
            fix="Remove {app}, or ask your help desk why its version or signer is not known; then open {check_url}.",
        ),
        Reason.APP_NOT_LISTED: Message(
            short="Mail is paused: {app} is on this device and is not one of the allowed apps.",
            fix="Remove {app}, then open {check_url} and press Check again.",
        ),
        Reason.APP_REQUIRED: Message(
            short="Mail is paused: {app} is missing on this device.",
            fix="Install {app}, then open {check_url} and press Check again.",
        ),
        Reason.OS_VERSION: Message(
            short="Mail is paused: the system software of this device is too old.",
            fix="Update it in the settings of the device, then open {check_url} and press Check again.",
        ),
        Reason.COMPROMISED: Message(
            short="Mail is paused: this device reports that its protection has been taken off.",
            fix="Ask your help desk, or read mail on another registered device.",
        ),
        Reason.UNKNOWN_DEVICE: Message(short="Mail is paused: this device is not registered.", fix=_REGISTER),
        Reason.DEVICE_OF_ANOTHER_USER: Message(
            short="Mail is paused: this device is registered to another account.",
            fix="Sign in with that account, or ask your help desk to register the device for you.",
        ),
        Reason.NO_EVIDENCE: Message(short="Mail is paused: this device has never reported its apps.", fix=_REPORT),
        Reason.STALE: Message(
            short="Mail is paused: the last report of this device's apps is too old.",
            fix=_REPORT,
        ),
        Reason.INSUFFICIENT: Message(
            short="Mail is paused: the report of this device does not show all that a rule asks about its apps.",
            fix="Ask your help desk how to let it report in full, or read mail on another registered device.",
        ),
    }
)
_WARNED: Mapping[Reason, Message] = MappingProxyType(
    {
        reason: Message(short=message.short.replace("Mail is paused:", "Mail still works, but"), fix=message.fix)
        for reason, message in _PAUSED.items()
    }
)
_DEFAULTS: Mapping[tuple[Verdict, Reason], Message] = MappingProxyType(
    {
        (verdict, reason): message
        for verdict in Verdict
        if verdict is not Verdict.ALLOW
        for reason, message in (_WARNED if verdict is Verdict.WARN else _PAUSED).items()
    }
)


def default_message(reason: Reason, verdict: Verdict) -> Message | None:
    """The words for a verdict whose rule has none, or that no rule gave; None when there is nothing to tell."""
    return _DEFAULTS.get((verdict, reason))


def template_fault(text: str) -> str | None:
    """Why a text of a policy cannot be used; None when it can."""
    unsafe = next((char for char in text if unicodedata.category(char) in _UNSAFE), None)
    if unsafe is not None:
        return f"contains the control character U+{ord(unsafe):04X}; it must be one line of plain text"
    unknown = next((name for name in _BRACES.findall(text) if name not in PLACEHOLDERS), None)
    if unknown is not None:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        return f"unknown placeholder {{{unknown}}}: there are {known}"
    if "{" in _BRACES.sub("", text) or "}" in _BRACES.sub("", text):
        return "has a brace without its partner"
    return None


def octets_needed(message: Message, *, in_zone: bool = False) -> int:
    """Octets of `short` and `fix` in one line, with room for what the placeholders stand for.

    `in_zone`: the deadline is told in a time zone, whose abbreviation can be longer than `UTC`.
    """
    line = f"{message.short} {message.fix}"
    sizes = {**PLACEHOLDERS, "deadline": PLACEHOLDERS["deadline"] + (_LONGER_ZONE if in_zone else 0)}
    room = sum(sizes.get(name, 0) for name in _BRACES.findall(line))
    return len(_BRACES.sub("", line).encode("utf-8", "replace")) + room


def render(
    message: Message, *, app: str | None, check_url: str, deadline: datetime | None, code: str = ""
) -> tuple[str, str]:
    """`short` and `fix` with their placeholders filled, each one clean line; joined by a space at most 400 octets.

    Args:
        message: The templates.
        app: Name of the app that is in the way.
        check_url: Where the person can look and ask for a new check.
        deadline: Told in its own time zone.
        code: Under which a help desk finds this very refusal: the connection's id.
    """
    values = {
        "app": _shortened(clean(app or ""), _MAX_APP_OCTETS) or "a denied app",
        "check_url": clean(check_url) or "the device check page",
        "deadline": _instant(deadline) if deadline else "the announced date",
        "code": _shortened(clean(code), _MAX_CODE_OCTETS) or "-",
    }

    def filled(text: str) -> str:
        return clean(_BRACES.sub(lambda match: values.get(match[1], match[0]), text))

    # The fix is what helps, so it keeps half of the line even when a policy was built past the schema's check.
    fix = _shortened(filled(message.fix), MAX_LINE_OCTETS - 1)
    short = filled(message.short)
    room = MAX_LINE_OCTETS - 1 - len(fix.encode())
    if len(short.encode()) > room:
        fix = _shortened(fix, max(MAX_LINE_OCTETS // 2, MAX_LINE_OCTETS - 1 - len(short.encode())))
        short = _shortened(short, MAX_LINE_OCTETS - 1 - len(fix.encode()))
    return short, fix


def clean(text: str) -> str:
    """One line: everything that could break it, hide in it or reverse it becomes a space; runs of spaces become one."""
    return " ".join("".join(" " if unicodedata.category(char) in _UNSAFE else char for char in text).split())


def ascii_line(text: str) -> str:
    """`clean` text for a protocol that carries ASCII only (RFC 5321 §4.2): accents go, the rest becomes `?`."""
    plain = unicodedata.normalize("NFKD", clean(text).translate(_PLAIN))
    kept = "".join(char for char in plain if not unicodedata.combining(char))
    return kept.encode("ascii", "replace").decode("ascii")


def _shortened(text: str, octets: int) -> str:
    raw = text.encode()
    if len(raw) <= octets:
        return text
    return raw[: octets - len(_ELLIPSIS)].decode("utf-8", "ignore").rstrip() + _ELLIPSIS


def _instant(instant: datetime) -> str:
    """In the time zone it comes with; an offset alone has no name that people know, so that is told in UTC."""
    if not isinstance(instant.tzinfo, ZoneInfo):
        instant = instant.astimezone(UTC)
    return instant.strftime("%Y-%m-%d %H:%M %Z")
