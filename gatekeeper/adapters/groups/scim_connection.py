"""Reading from a SCIM 2.0 service provider (RFC 7644): lists page by page, by index or by cursor (RFC 9865).

What holds inside: https with the certificate and name verified, no redirect is followed, every answer is bounded in
octets and in time, and a list is whole or a fault. The token is sent to nobody else and stands in no message. Blocks.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from time import monotonic
from urllib.parse import quote, urlencode

from gatekeeper.adapters.groups.settings import ScimSettings
from gatekeeper.ports.groups import DirectoryError

MAX_ANSWER = 64 * 1024 * 1024
"""Octets of one answer: a group with a million members."""
MAX_OCTETS = 512 * 1024 * 1024
"""Of all answers to one question."""
MAX_RESOURCES = 1_000_000
COUNT = 200
"""Resources asked for at once; a provider may give fewer."""
_WAIT_S = 20.0
"""For the next octets."""

Resource = Mapping[str, object]


class _Https(http.client.HTTPSConnection):
    """Its socket is known while the handshake goes on, so that `give_up` can end it."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port, context=context)
        self._tls = context

    def connect(self) -> None:
        sock = socket.create_connection((self.host, self.port), timeout=self.timeout)
        self.sock = tls = self._tls.wrap_socket(sock, server_hostname=self.host, do_handshake_on_connect=False)
        tls.do_handshake()


class ScimConnection:
    """To one service provider, kept open from question to question."""

    def __init__(self, settings: ScimSettings, context: ssl.SSLContext, token: str, deadline: float) -> None:
        """`deadline`: by the monotonic clock, for all."""
        self._settings = settings
        self._deadline = deadline
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/scim+json, application/json"}
        self._connection = _Https(settings.host, settings.port, context)
        self._octets = 0
        self._cursors: bool | None = None
        self.filters = False
        """Whether the provider looks for groups by their name."""

    def close(self) -> None:
        """Close."""
        self._connection.close()

    def give_up(self) -> None:
        """Wake whoever waits for the provider, in another thread."""
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):  # closed already
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def ask_abilities(self) -> None:
        """What the provider can do (RFC 7643 §5, RFC 9865 §4); one that does not say can page by index."""
        document = self.one("/ServiceProviderConfig") or {}
        self._cursors = _flag(document, "pagination", "cursor") and not _prefers_index(document)
        self.filters = _flag(document, "filter", "supported")

    def one(self, path: str, **query: str) -> Resource | None:
        """One resource; None when there is none that we may see."""
        status, body = self._get(path, query)
        if status in (404, 403, 501):
            return None
        return self._document(path, status, body)

    def every(self, path: str, **query: str) -> Iterator[Resource]:
        """Every resource of a list."""
        return self._by_cursor(path, query) if self._cursors else self._by_index(path, query)

    def _by_index(self, path: str, query: dict[str, str]) -> Iterator[Resource]:
        """RFC 7644 §3.4.2.4: `startIndex` counts from 1; a page may be shorter than it was asked for."""
        taken = 0
        while True:
            page, document = self._page(path, {**query, "startIndex": str(taken + 1), "count": str(COUNT)})
            yield from page
            taken += len(page)
            total = document.get("totalResults")
            if not isinstance(total, int) or isinstance(total, bool):
                raise self._fault(f"{path}: `totalResults` is missing")
            if taken >= total:
                return
            if not page:
                raise self._fault(f"{path}: {total} resources were promised and {taken} given")
            self._bound(taken)

    def _by_cursor(self, path: str, query: dict[str, str]) -> Iterator[Resource]:
        """RFC 9865 §2: begun with an empty cursor, over when there is no `nextCursor`."""
        cursor, taken, seen = "", 0, {""}
        while True:
            page, document = self._page(path, {**query, "cursor": cursor, "count": str(COUNT)})
            yield from page
            taken += len(page)
            following = document.get("nextCursor")
            if not following:
                return
            if not isinstance(following, str) or following in seen:
                raise self._fault(f"{path}: `nextCursor` goes round in circles, or is no text")
            seen.add(following)
            cursor = following
            self._bound(taken)

    def _page(self, path: str, query: dict[str, str]) -> tuple[list[Resource], Resource]:
        status, body = self._get(path, query)
        document = self._document(path, status, body)
        found = document.get("Resources", [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self._fault(f"{path}: `Resources` is no list of resources")
        return found, document

    def _get(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        target = f"{self._settings.path}{path}"
        if query:
            target += "?" + urlencode(query, quote_via=quote)
        try:
            return self._exchange(target)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            if self._connection.sock is not None:
                self._connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._fault(_words(error)) from error
        try:
            return self._exchange(target)  # it had closed a connection that was kept open
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._fault(_words(error)) from error

    def _exchange(self, target: str) -> tuple[int, bytes]:
        connection = self._connection
        connection.timeout = min(_WAIT_S, self._patience())
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        connection.request("GET", target, headers=self._headers)
        response = connection.getresponse()
        parts, octets = [], 0
        while part := response.read1(256 * 1024):
            octets += len(part)
            self._octets += len(part)
            if octets > MAX_ANSWER or self._octets > MAX_OCTETS:
                connection.close()
                raise self._fault("says more than it may")
            parts.append(part)
            if connection.sock is not None:
                connection.sock.settimeout(min(_WAIT_S, self._patience()))
            else:
                self._patience()
        response.read()  # an empty body is only taken note of so
        return response.status, b"".join(parts)

    def _document(self, path: str, status: int, body: bytes) -> Resource:
        if status == 401:
            raise self._fault(f"{path}: 401, the token is not accepted (groups.scim.token_file)")
        if 300 <= status < 400:
            raise self._fault(f"{path}: {status}, points elsewhere: set groups.scim.url to the final address")
        if status != 200:
            raise self._fault(f"{path}: {status}{_detail(body)}")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._fault(f"{path}: the answer is not JSON") from error
        if not isinstance(document, dict):
            raise self._fault(f"{path}: the answer is no resource")
        return document

    def _bound(self, taken: int) -> None:
        if taken > MAX_RESOURCES:
            raise self._fault(f"has more than {MAX_RESOURCES} resources")

    def _patience(self) -> float:
        left = self._deadline - monotonic()
        if left <= 0:
            raise self._fault("the answer takes too long (groups.timeout)")
        return left

    def _fault(self, words: str) -> DirectoryError:
        return DirectoryError(f"{self._settings}: {words}")


def _flag(document: Resource, name: str, key: str) -> bool:
    part = document.get(name)
    return isinstance(part, dict) and part.get(key) is True


def _prefers_index(document: Resource) -> bool:
    part = document.get("pagination")
    return isinstance(part, dict) and part.get("index") is True and part.get("defaultPaginationMethod") == "index"


def _detail(body: bytes) -> str:
    """What a SCIM error says (RFC 7644 §3.12)."""
    try:
        document = json.loads(body[:65_536])
    except (ValueError, RecursionError):
        return ""
    said = document.get("detail") if isinstance(document, dict) else None
    return f" ({_clean(said)})" if isinstance(said, str) and said else ""


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate cannot be verified: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return _clean(error.strerror)
    return _clean(str(error)) or type(error).__name__


def _clean(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text[:200]).strip()
