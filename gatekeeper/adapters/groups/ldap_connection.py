"""A connection to an LDAP server (RFC 4511): TLS before anything is said, bind, paged searches (RFC 2696).

What holds inside: everything is bounded, at its announcement, in octets and in time; the server's certificate and name
are verified; no credential is sent before TLS. Messages are made and read by sansldap, which does no I/O. Blocks.
"""

import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

import sansldap

from gatekeeper.adapters.groups.settings import LdapServer
from gatekeeper.ports.groups import DirectoryError

MAX_MESSAGE = 64 * 1024 * 1024
"""Octets: a group with a million members in one entry. Announced in the first octets of a message."""
MAX_OCTETS = 512 * 1024 * 1024
"""Of all that one connection may say."""
PAGES = (500, 100, 20)
"""Entries, the first that the server agrees to: Active Directory gives 1000 at most, OpenLDAP what `size.pr` says."""
CONNECT_WITHIN_S = 5.0
_WINDOW = 64
"""Look-ups of single entries that are under way at once."""
_CHUNK = 256 * 1024
_START_TLS = "1.3.6.1.4.1.1466.20037"
_SEQUENCE = 0x30

_Code = sansldap.LDAPResultCode
_GONE = (_Code.NO_SUCH_OBJECT, _Code.INVALID_DN_SYNTAX, _Code.REFERRAL, _Code.INSUFFICIENT_ACCESS_RIGHTS)
"""What a look-up of one entry gets where there is none for us."""

R = TypeVar("R", bound=sansldap.LDAPMessage)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, with what was asked of it."""

    dn: str
    attributes: Mapping[str, Sequence[bytes]]
    """By the name in lower case, with its options: `member;range=0-1499`."""

    def values(self, name: str) -> Sequence[bytes]:
        """Of an attribute; none where it has none."""
        return self.attributes.get(name.lower(), ())


class LdapConnection:
    """To one server."""

    def __init__(self, server: LdapServer, context: ssl.SSLContext, deadline: float) -> None:
        """`deadline`: by the monotonic clock, for all. `open` comes first."""
        self.deadline = deadline
        self._server = server
        self._context = context
        self._sock: socket.socket | None = None
        self._is_over = False
        self._session = sansldap.LDAPClient()
        self._buffer = bytearray()
        self._messages: deque[sansldap.LDAPMessage] = deque()
        self._octets = 0

    def open(self) -> None:
        """Connect, and begin TLS. Raises `DirectoryError`."""
        server = self._server
        try:
            self._sock = sock = socket.create_connection(
                (server.host, server.port), timeout=min(CONNECT_WITHIN_S, self._patience())
            )
        except (OSError, UnicodeError) as error:
            raise DirectoryError(f"{server}: {_words(error)}") from error
        try:
            if not server.is_implicit:
                self._start_tls()
            # In two steps, so that `give_up` finds the socket while the handshake goes on.
            self._sock = tls = self._context.wrap_socket(
                sock, server_hostname=server.host, do_handshake_on_connect=False
            )
            tls.do_handshake()
        except (OSError, ValueError) as error:  # ValueError: a host name that is none
            raise DirectoryError(f"{server}: TLS: {_words(error)}") from error

    def close(self) -> None:
        """Close. No UnbindRequest goes before it: sansldap 0.1 makes one that servers call malformed."""
        if self._sock is not None:
            self._sock.close()

    def give_up(self) -> None:
        """Wake whoever waits for the server, in another thread."""
        self._is_over = True
        sock = self._sock
        if sock is None:
            return
        with suppress(OSError):  # closed already
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not TLS's own end, which would wait for an answer

    def bind(self, dn: str, password: str) -> None:
        """Log in by name and password (RFC 4513 §5.1.3)."""
        number = self._session.bind_simple(dn, password)
        self._check(self._answer(number, sansldap.BindResponse).result, f"the bind as `{dn}` was refused")

    def bind_external(self) -> None:
        """Log in as whom the client certificate names (SASL EXTERNAL, RFC 4422 appendix A)."""
        number = self._session.bind_sasl("EXTERNAL", cred=b"")
        self._check(
            self._answer(number, sansldap.BindResponse).result, "the bind by the client certificate was refused"
        )

    def search(self, base: str, filter_: sansldap.LDAPFilter, attributes: list[str]) -> Iterator[Entry]:
        """Every entry below `base` that fits, page by page. Entries of other servers (referrals) are not followed."""
        cookie, sizes = b"", deque(PAGES)
        while True:
            number = self._session.search_request(
                base_object=base,
                scope=sansldap.SearchScope.SUBTREE,
                filter=filter_,
                attributes=attributes,
                controls=[sansldap.PagedResultControl(critical=False, size=sizes[0], cookie=cookie)],
            )
            done = None
            while done is None:
                message = self._next()
                if isinstance(message, sansldap.SearchResultEntry):
                    yield _entry(message)
                elif isinstance(message, sansldap.SearchResultDone) and message.message_id == number:
                    done = message
            if done.result.result_code is _Code.ADMIN_LIMIT_EXCEEDED and not cookie and len(sizes) > 1:
                sizes.popleft()
                continue
            self._check(done.result, f"the search below `{base}` failed")
            pages = [control for control in done.controls if isinstance(control, sansldap.PagedResultControl)]
            cookie = pages[0].cookie if pages else b""
            if not cookie:
                return

    def look_up(self, dns: Iterable[str], attributes: list[str]) -> Iterator[tuple[str, Entry | None]]:
        """Each of these entries, in some order; None where there is none that we may see. Many are asked at once."""
        waiting: dict[int, str] = {}
        found: dict[int, Entry] = {}
        left = iter(dns)
        is_over = False
        while True:
            while not is_over and len(waiting) < _WINDOW:
                dn = next(left, None)
                if dn is None:
                    is_over = True
                    break
                number = self._session.search_request(
                    base_object=dn, scope=sansldap.SearchScope.BASE, attributes=attributes
                )
                waiting[number] = dn
            if not waiting:
                return
            message = self._next()
            if isinstance(message, sansldap.SearchResultEntry):
                found[message.message_id] = _entry(message)
            elif isinstance(message, sansldap.SearchResultDone) and message.message_id in waiting:
                dn = waiting.pop(message.message_id)
                if message.result.result_code not in _GONE:
                    self._check(message.result, f"the look-up of `{dn}` failed")
                yield dn, found.pop(message.message_id, None)

    # Messages.

    def _start_tls(self) -> None:
        number = self._session.extended_request(_START_TLS)
        self._check(self._answer(number, sansldap.ExtendedResponse).result, "StartTLS was refused")
        if self._buffer or self._messages:  # said in the clear, and would be taken for what TLS protects
            raise DirectoryError(f"{self._server}: said something between StartTLS and TLS")

    def _answer(self, number: int, kind: type[R]) -> R:
        while True:
            message = self._next()
            if isinstance(message, kind) and message.message_id == number:
                return message

    def _next(self) -> sansldap.LDAPMessage:
        """The next message of the server, after all that we have to say was sent."""
        sock = self._sock
        if sock is None or self._is_over:
            raise DirectoryError("the question was given up")
        try:
            data = self._session.data_to_send()
            if data:
                sock.settimeout(self._patience())
                sock.sendall(data)
            while not self._messages:
                sock.settimeout(self._patience())
                chunk = sock.recv(_CHUNK)
                if not chunk:
                    raise DirectoryError(f"{self._server}: closed the connection")
                self._take(chunk)
        except OSError as error:
            raise DirectoryError(f"{self._server}: {_words(error)}") from error
        return self._messages.popleft()

    def _take(self, chunk: bytes) -> None:
        self._octets += len(chunk)
        if self._octets > MAX_OCTETS:
            raise DirectoryError(f"{self._server}: says more than {MAX_OCTETS} octets")
        self._buffer += chunk
        place = 0
        while (length := _announced(self._buffer, place)) is not None:
            if length > MAX_MESSAGE:
                raise DirectoryError(f"{self._server}: a message of more than {MAX_MESSAGE} octets, or none of LDAP")
            if len(self._buffer) - place < length:
                break
            self._messages.extend(self._parsed(bytes(self._buffer[place : place + length])))
            place += length
        del self._buffer[:place]

    def _parsed(self, message: bytes) -> list[sansldap.LDAPMessage]:
        try:
            found = self._session.receive(message)
        except (sansldap.LDAPError, ValueError, LookupError, struct.error, RecursionError) as error:
            raise DirectoryError(f"{self._server}: {_words(error)}") from error
        if not found:
            raise DirectoryError(f"{self._server}: a message that is not whole")
        return found

    def _patience(self) -> float:
        """Seconds that are left."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise DirectoryError(f"{self._server}: the answer takes too long (groups.timeout)")
        return left

    def _check(self, result: sansldap.LDAPResult, what: str) -> None:
        if result.result_code is not _Code.SUCCESS:
            said = f" ({_clean(result.diagnostics_message)})" if result.diagnostics_message else ""
            name = result.result_code.name.lower().replace("_", " ")
            raise DirectoryError(f"{self._server}: {what}: {name}{said}")


def _announced(buffer: bytearray, place: int) -> int | None:
    """Octets of the message that begins there, with its head; None: too little is there to tell."""
    if len(buffer) - place < 2:
        return None
    if buffer[place] != _SEQUENCE:
        return MAX_MESSAGE + 1
    first = buffer[place + 1]
    if first < 0x80:
        return 2 + first
    octets = first & 0x7F
    if not 1 <= octets <= 8:
        return MAX_MESSAGE + 1
    if len(buffer) - place < 2 + octets:
        return None
    return 2 + octets + int.from_bytes(buffer[place + 2 : place + 2 + octets])


def _entry(message: sansldap.SearchResultEntry) -> Entry:
    return Entry(message.object_name, {one.name.lower(): one.values for one in message.attributes})


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate cannot be verified: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return _clean(error.strerror)
    return _clean(str(error)) or type(error).__name__


def _clean(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text[:200]).strip()
