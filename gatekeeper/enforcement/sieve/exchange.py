"""SASL exchanges as ManageSieve carries them: what each mechanism asks for, and what its responses amount to.

A new mechanism is one line in `_EXCHANGES`.
"""

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from gatekeeper.protocols.sasl.mechanisms import (
    Credentials,
    Mechanism,
    decode_base64,
    parse_bearer,
    parse_plain,
    password_credentials,
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one mechanism goes."""

    challenges: tuple[bytes, ...]
    """One for each response; the first may come with the command instead."""
    read: Callable[..., Credentials]
    """Takes the decoded responses; raises SaslError."""


_EXCHANGES: Mapping[Mechanism, _Kind] = {
    Mechanism.PLAIN: _Kind((b"",), parse_plain),
    Mechanism.LOGIN: _Kind((b"Username:", b"Password:"), lambda *both: password_credentials(Mechanism.LOGIN, *both)),
    Mechanism.XOAUTH2: _Kind((b"",), lambda response: parse_bearer(Mechanism.XOAUTH2, response)),
    Mechanism.OAUTHBEARER: _Kind((b"",), lambda response: parse_bearer(Mechanism.OAUTHBEARER, response)),
}


def offered(upstream_offers: Collection[str]) -> Sequence[Mechanism]:
    """What clients may use: passwords always, tokens where the mail server judges them."""
    return [mechanism for mechanism in _EXCHANGES if not mechanism.is_bearer or f"AUTH={mechanism}" in upstream_offers]


class Exchange:
    """One exchange that has begun."""

    __slots__ = ("_kind", "_responses")

    def __init__(self, mechanism: Mechanism) -> None:
        self._kind = _EXCHANGES[mechanism]
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
