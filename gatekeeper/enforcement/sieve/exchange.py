"""SASL exchanges as ManageSieve carries them: what each mechanism asks for, and what its responses amount to.

Every mechanism but LOGIN has one response, and is read by `parse_response`.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from gatekeeper.protocols.sasl.mechanisms import (
    Credentials,
    Mechanism,
    decode_base64,
    parse_response,
    password_credentials,
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one mechanism goes."""

    challenges: tuple[bytes, ...]
    """One for each response; the first may come with the command instead."""
    read: Callable[..., Credentials]
    """Takes the decoded responses; raises SaslError."""


_LOGIN = _Kind((b"Username:", b"Password:"), lambda *both: password_credentials(Mechanism.LOGIN, *both))


def _kind(mechanism: Mechanism) -> _Kind:
    if mechanism is Mechanism.LOGIN:
        return _LOGIN
    return _Kind((b"",), lambda response: parse_response(mechanism, response))


class Exchange:
    """One exchange that has begun."""

    __slots__ = ("_kind", "_responses")

    def __init__(self, mechanism: Mechanism) -> None:
        self._kind = _kind(mechanism)
        self._responses: list[bytes] = []

    @property
    def challenge(self) -> bytes:
        """What to say next, in base64."""
        return base64.b64encode(self._kind.challenges[len(self._responses)])

    def respond(self, response: bytes) -> Credentials | None:
        """Take a base64 response; None: there is another challenge. Raises SaslError."""
        self._responses.append(decode_base64(response))
        if len(self._responses) < len(self._kind.challenges):
            return None
        return self._kind.read(*self._responses)
