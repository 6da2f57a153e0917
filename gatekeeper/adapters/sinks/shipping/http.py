"""HTTP(S): a POST for each batch; a 2xx answer is the peer's word that it has it.

Records go as JSON lines, exactly as they stand in the log. A batch can come again, and then with other borders: what
tells repeats apart is the log and the number, which stand in every record; of the batch as a whole they are in headers.

Inside holds: the server's chain and name are verified; no redirect is followed, no proxy is asked; of an answer at most
`_MOST_READ` octets are read; a peer that says nothing for `TIMEOUT_S` is lost.
"""

import http.client
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from gatekeeper import __version__
from gatekeeper.adapters.sinks.shipping.channel import PeerFailed, TooLarge
from gatekeeper.adapters.sinks.shipping.settings import HttpPeer
from gatekeeper.net.tls import client_context

TIMEOUT_S = 10.0
MOST_OCTETS = 1_048_576
"""Of a request: longer batches are sent in parts."""
_MOST_READ = 65_536
_LONGEST_WAIT_S = 300.0
_MOST_TOKEN = 8192


class Reply(NamedTuple):
    """What a server said."""

    status: int
    body: bytes
    """The first `_MOST_READ` octets."""
    retry_after_s: float


class HttpConnection:
    """A connection that is kept open, and made again once when the server had closed it meanwhile."""

    def __init__(self, peer: HttpPeer) -> None:
        self._peer = peer
        self._parts = urlsplit(peer.url)
        self._connection: http.client.HTTPConnection | None = None
        self._token = ""

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a request. Raises OSError, of which ssl.SSLError is one, or PeerFailed."""
        was_open = self._connection is not None
        try:
            return self._post(body, headers)
        except (ConnectionError, http.client.RemoteDisconnected):
            self.close()
            if not was_open:
                raise
            return self._post(body, headers)  # whatever is sent may come twice

    def close(self) -> None:
        """Close it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        connection = self._connection or self._connect()
        path = self._parts.path or "/"
        target = f"{path}?{self._parts.query}" if self._parts.query else path
        own = {"User-Agent": f"gatekeeper/{__version__}", **({"Authorization": self._token} if self._token else {})}
        try:
            connection.request("POST", target, body, {**headers, **own})
            response = connection.getresponse()
            answer = response.read(_MOST_READ)
            if not response.isclosed():  # longer than anybody has to say here
                self.close()
        except http.client.RemoteDisconnected:  # a ConnectionError too
            raise
        except http.client.HTTPException as error:
            raise PeerFailed(f"its answer is no HTTP: {type(error).__name__}") from error
        return Reply(response.status, answer, _seconds(response.getheader("Retry-After")))

    def _connect(self) -> http.client.HTTPConnection:
        peer, host, port = self._peer, self._parts.hostname or "", self._parts.port
        if peer.token_file is not None:
            self._token = f"Bearer {_token(peer)}"
        if peer.tls is None:
            self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        else:
            context = client_context(peer.tls.ca, peer.tls.client_certificate, peer.tls.client_key)
            self._connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
        return self._connection


class HttpChannel:
    """Records in batches; implements `channel.RecordChannel`."""

    def __init__(self, peer: HttpPeer, log: str, batch: int) -> None:
        self.batch = batch
        self._most = batch
        self._log = log
        self._connection = HttpConnection(peer)

    def send(self, first: int, lines: Sequence[bytes]) -> None:
        """See `RecordChannel`; returns when the peer has said that it has them."""
        start = 0
        while start < len(lines):
            end, octets = start, 0
            while end < len(lines) and (end == start or octets + len(lines[end]) <= MOST_OCTETS):
                octets += len(lines[end])
                end += 1
            self._post(first + start, lines[start:end])
            start = end
        self.batch = min(self.batch * 2, self._most)

    def confirm(self) -> None:
        """See `RecordChannel`; it was said already."""

    def idle(self) -> None:
        """See `RecordChannel`; nothing is said to a server that is not asked anything."""

    def close(self) -> None:
        """See `RecordChannel`."""
        self._connection.close()

    def _post(self, first: int, lines: Sequence[bytes]) -> None:
        numbers = f"{first}-{first + len(lines) - 1}"
        reply = self._connection.post(
            b"".join(lines),
            {
                "Content-Type": "application/x-ndjson",
                "Gatekeeper-Log": self._log,
                "Gatekeeper-Records": numbers,
                "Idempotency-Key": f'"{_quoted(self._log)}#{numbers}"',
            },
        )
        if reply.status == http.client.REQUEST_ENTITY_TOO_LARGE and len(lines) > 1:
            self.batch = max(len(lines) // 2, 1)
            raise TooLarge(f"it takes less than {len(lines)} records at a time")
        accepted(reply)


def _quoted(text: str) -> str:
    """Within a string of a structured field (RFC 9651 section 3.3.3)."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def accepted(reply: Reply) -> None:
    """Raises PeerFailed unless the answer is a 2xx."""
    if not 200 <= reply.status < 300:
        raise PeerFailed(f"it answered {reply.status}", wait_s=reply.retry_after_s)


def _token(peer: HttpPeer) -> str:
    """Read again whenever a connection is made, so that it can be changed. Raises OSError or PeerFailed."""
    if peer.token_file is None:
        return ""
    with peer.token_file.open("rb") as file:
        token = file.read(_MOST_TOKEN).decode("ascii", "replace").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise PeerFailed(f"`{peer.token_file}` holds no token of one line of ASCII")
    return token


def _seconds(header: str | None) -> float:
    """Retry-After in seconds (RFC 9110 section 10.2.3), bounded; a date is as good as nothing."""
    if header is None or not header.strip().isdecimal():
        return 0.0
    return min(float(header.strip()[:9]), _LONGEST_WAIT_S) if header.isascii() else 0.0
