"""The listeners' TLS contexts: made once for all listeners of a protocol, and kept as long as no file changes.

Session tickets are sealed with a key of the context. So a phone resumes on every listener of its protocol, also after a
reload that leaves the TLS files as they are. A new certificate, CA or revocation list makes a new context, whose keys
open none of the old tickets: nobody resumes past what has changed.

Several workers have to have the same keys, also those of contexts that a reload makes while they run, and Python can
neither set a context's keys nor pass a context on. So blank contexts, keys and all, are made before the workers are
forked, and each new context is the next blank one, filled: the same one in every worker, whose number the parent says.
When there are no more blank ones, no tickets are handed out: never tickets that only one worker could open.
"""

import ssl
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256

from gatekeeper.net.tls import ServerTls, blank_context, server_context, without_tickets

BLANK_CONTEXTS = 64
"""For each protocol: so often may TLS files change before tickets end until the next start. 13 KiB each, shared."""

_Key = tuple[ServerTls, str, bytes]


class ServerContexts:
    """Contexts by settings, protocol and what is in the files."""

    def __init__(self, shared: Iterable[str] = ()) -> None:
        """`shared`: the protocols whose tickets several workers are to open."""
        self._made: dict[_Key, ssl.SSLContext] = {}
        self._blank = {alpn: [blank_context() for _ in range(BLANK_CONTEXTS)] for alpn in shared}
        self._is_shared = bool(self._blank)
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> Mapping[str, int]:
        """How many blank contexts were taken, by protocol."""
        return dict(self._taken)

    @taken.setter
    def taken(self, taken: Mapping[str, int]) -> None:
        """Go on where the parent process is."""
        self._taken = Counter(taken)

    def get(self, settings: ServerTls, alpn: str) -> ssl.SSLContext:
        """The context for listeners that speak `alpn`; raises OSError or ssl.SSLError for the files."""
        key = (settings, alpn, digest(settings))
        context = self._made.get(key)
        if context is None:
            context = self._made[key] = server_context(settings, alpn, blank=self._next_blank(alpn))
        return context

    def _next_blank(self, alpn: str) -> ssl.SSLContext | None:
        if not self._is_shared:
            return None
        blank, number = self._blank.get(alpn, []), self._taken[alpn]
        self._taken[alpn] += 1
        return blank[number] if number < len(blank) else without_tickets()

    def keep(self, used: Iterable[ssl.SSLContext | None]) -> None:
        """Forget the contexts that no listener uses any more."""
        kept = {id(context) for context in used}
        self._made = {key: context for key, context in self._made.items() if id(context) in kept}


def digest(settings: ServerTls) -> bytes:
    """The SHA-256 of all the files, taken before they are used: what changes in between makes another one next time."""
    found = sha256()
    for path in settings.files():
        found.update(sha256(path.read_bytes()).digest())
    return found.digest()
