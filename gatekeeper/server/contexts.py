"""The listeners' TLS contexts: made once for all listeners of a protocol, and kept as long as no file changes.

Session tickets are sealed with a key of the context. So a phone resumes on every listener of its protocol, also after a
reload that leaves the TLS files as they are. A new certificate, CA or revocation list makes a new context, whose keys
open none of the old tickets: nobody resumes past what has changed.
"""

import ssl
from collections.abc import Iterable
from hashlib import sha256

from gatekeeper.net.tls import ServerTls, server_context

_Key = tuple[ServerTls, str, bytes]


class ServerContexts:
    """Contexts by settings, protocol and what is in the files."""

    def __init__(self) -> None:
        self._made: dict[_Key, ssl.SSLContext] = {}

    def get(self, settings: ServerTls, alpn: str) -> ssl.SSLContext:
        """The context for listeners that speak `alpn`; raises OSError or ssl.SSLError for the files."""
        key = (settings, alpn, _digest(settings))
        context = self._made.get(key)
        if context is None:
            context = self._made[key] = server_context(settings, alpn)
        return context

    def keep(self, used: Iterable[ssl.SSLContext | None]) -> None:
        """Forget the contexts that no listener uses any more."""
        kept = {id(context) for context in used}
        self._made = {key: context for key, context in self._made.items() if id(context) in kept}


def _digest(settings: ServerTls) -> bytes:
    """Of what is in all the files, taken before they are used: what changes in between makes another one next time."""
    digest = sha256()
    for path in settings.files():
        digest.update(sha256(path.read_bytes()).digest())
    return digest.digest()
