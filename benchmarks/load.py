"""The phones: TLS IMAP clients that open sessions, log in, ask NOOPs and move bulk data, on one epoll.

Every phone has a loopback address of its own (127.64.0.0/10), as phones have, so that limits per address do not judge
four thousand phones as one.

Handshakes are always full ones: no session is ever resumed. Every wait has a limit; what goes wrong is counted.
"""

import contextlib
import errno
import itertools
import select
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

MIB = 1024 * 1024
BLOCK = bytes(range(32, 96)) * 4096  # 256 KiB
STEP_TIMEOUT_S = 60.0
"""No single answer of a peer may take longer."""

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; not in Python 3.11's socket module
_phone_numbers = itertools.count()


class LoadError(Exception):
    """A peer did not do what the load needs; the text says what."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the phones log in, and as whom."""

    port: int
    certificate: str
    user: str
    password: str

    def context(self) -> ssl.SSLContext:
        """TLS 1.3 only, the peer's certificate verified; OpenSSL then offers TLS_AES_256_GCM_SHA384 first."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self.certificate)
        return context

    def login(self) -> bytes:
        return f'a LOGIN "{self.user}" "{self.password}"\r\n'.encode()


# -- one session at a time, blocking -----------------------------------------------------------------------------------


def log_in(target: Target, context: ssl.SSLContext, timeout_s: float = STEP_TIMEOUT_S) -> ssl.SSLSocket:
    """A logged-in session on a blocking socket."""
    plain = _dial(timeout_s)
    try:
        plain.connect(("127.0.0.1", target.port))
        sock = context.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise
    try:
        _read_until(sock, b"* ")
        sock.sendall(target.login())
        reply = _read_until(sock, b"a ")
    except BaseException:
        sock.close()
        raise
    if not reply.startswith(b"a OK"):
        sock.close()
        raise LoadError(f"log-in refused: {reply.decode(errors='replace').strip()[:200]}")
    return sock


def log_in_plain(port: int, user: str, password: str) -> socket.socket:
    """A session straight at the mail server, without TLS: the harness's own floor."""
    sock = _dial(STEP_TIMEOUT_S)
    sock.connect(("127.0.0.1", port))
    _read_until(sock, b"* ")
    sock.sendall(f'a LOGIN "{user}" "{password}"\r\n'.encode())
    _read_until(sock, b"a OK")
    return sock


def close(sock: socket.socket) -> None:
    """Say close_notify and close, without waiting for the peer's."""
    if isinstance(sock, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):
            sock.settimeout(0.0)
            sock.unwrap()
    sock.close()


def noops(sock: socket.socket, count: int, timeout_s: float) -> list[float]:
    """`count` NOOPs, one after the other; the seconds each took."""
    deadline = time.monotonic() + timeout_s
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        sock.sendall(b"n NOOP\r\n")
        reply = sock.recv(4096)
        while not reply.endswith(b"\r\n"):
            reply += _some(sock)
        taken.append(time.perf_counter() - start)
        if not reply.startswith(b"n OK"):
            raise LoadError(f"unexpected answer to NOOP: {reply[:80]!r}")
        if time.monotonic() > deadline:
            raise LoadError(f"only {len(taken)} of {count} NOOPs within {timeout_s:.0f} s")
    return taken


def noops_beside(socks: list[socket.socket], seconds: float) -> list[list[float]]:
    """For a time: one NOOP on each session in turn, then 1 ms of rest; the seconds each took, by session."""
    deadline = time.monotonic() + seconds
    taken: list[list[float]] = [[] for _ in socks]
    while time.monotonic() < deadline:
        for sock, own in zip(socks, taken, strict=True):
            own.extend(noops(sock, 1, STEP_TIMEOUT_S))
        time.sleep(0.001)
    return taken


def bulk_down(sock: socket.socket, octets: int, timeout_s: float) -> None:
    """One FETCH whose literal has `octets` octets, read to its end."""
    deadline = time.monotonic() + timeout_s
    sock.sendall(b"b XSTREAM %d\r\n" % octets)
    buffer = bytearray(256 * 1024)
    head = _some(sock)
    while b"\r\n" not in head:
        head += _some(sock)
    # What follows the announcement: the literal, then `)` and the tagged line.
    tail = b")\r\nb OK done\r\n"
    left = octets + len(tail) - (len(head) - head.index(b"\r\n") - 2)
    last = head[-len(tail) :]
    while left > 0:
        count = sock.recv_into(buffer)
        if count == 0:
            raise LoadError(f"closed with {left} octets to come")
        left -= count
        last = (last + buffer[max(0, count - len(tail)) : count])[-len(tail) :]
        if time.monotonic() > deadline:
            raise LoadError(f"{octets - left} of {octets} octets within {timeout_s:.0f} s")
    if last != tail:
        raise LoadError(f"the stream ended in {bytes(last)!r}")


def bulk_up(sock: socket.socket, octets: int, timeout_s: float) -> None:
    """One non-synchronising literal of `octets` octets, sent to its end and acknowledged."""
    deadline = time.monotonic() + timeout_s
    sock.sendall(b"u XSINK {%d+}\r\n" % octets)
    view = memoryview(BLOCK)
    left = octets
    while left > 0:
        chunk = min(left, len(BLOCK))
        sock.sendall(view[:chunk])
        left -= chunk
        if time.monotonic() > deadline:
            raise LoadError(f"{octets - left} of {octets} octets within {timeout_s:.0f} s")
    sock.sendall(b"\r\n")
    _read_until(sock, b"u OK")


# -- many sessions at once, epoll --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Opened:
    """What became of an attempt to open many sessions."""

    sessions: list[ssl.SSLSocket] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wall_s: float = 0.0


class _Step(Enum):
    CONNECT = auto()
    HANDSHAKE = auto()
    GREETING = auto()
    LOGIN = auto()


@dataclass(slots=True)
class _Opening:
    sock: socket.socket
    step: _Step = _Step.CONNECT
    received: bytes = b""


class _Opener:
    """Opens sessions, `at_once` of them under way at any time."""

    def __init__(self, target: Target, context: ssl.SSLContext, *, keep: bool) -> None:
        self._target = target
        self._context = context
        self._login = target.login()
        self._keep = keep
        self._epoll = select.epoll()
        self._opening: dict[int, _Opening] = {}
        self.opened = Opened()

    def run(self, count: int, at_once: int, timeout_s: float) -> Opened:
        start = time.perf_counter()
        deadline = time.monotonic() + timeout_s
        begun = 0
        while begun < count or self._opening:
            while begun < count and len(self._opening) < at_once:
                self._begin()
                begun += 1
            if time.monotonic() > deadline:
                self.opened.errors += ["not logged in in time"] * (len(self._opening) + count - begun)
                break
            for fd, _ in self._epoll.poll(1.0):
                self._advance(fd)
        self.opened.wall_s = time.perf_counter() - start
        for opening in self._opening.values():
            opening.sock.close()
        self._epoll.close()
        return self.opened

    def _begin(self) -> None:
        sock = _dial(0.0)
        code = sock.connect_ex(("127.0.0.1", self._target.port))
        if code not in {0, errno.EINPROGRESS}:
            sock.close()
            self.opened.errors.append(errno.errorcode.get(code, str(code)))
            return
        self._opening[sock.fileno()] = _Opening(sock)
        self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def _advance(self, fd: int) -> None:
        opening = self._opening[fd]
        try:
            while self._step(fd, opening):
                pass
        except ssl.SSLWantReadError:
            self._epoll.modify(fd, select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self._epoll.modify(fd, select.EPOLLOUT)
        except (OSError, LoadError) as problem:
            self._finish(fd, opening, str(problem))

    def _step(self, fd: int, opening: _Opening) -> bool:
        match opening.step:
            case _Step.CONNECT:
                code = opening.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise LoadError(errno.errorcode.get(code, str(code)))
                # The wrapped socket takes over the descriptor: same number, still registered.
                opening.sock = self._context.wrap_socket(
                    opening.sock, server_hostname="localhost", do_handshake_on_connect=False
                )
                opening.step = _Step.HANDSHAKE
                return True
            case _Step.HANDSHAKE:
                assert isinstance(opening.sock, ssl.SSLSocket)
                opening.sock.do_handshake()
                opening.step = _Step.GREETING
                return True
            case _Step.GREETING:
                if self._line(opening, b"* "):
                    opening.sock.send(self._login)  # a fresh socket takes so little at once
                    opening.step, opening.received = _Step.LOGIN, b""
                return True
            case _Step.LOGIN:
                line = self._line(opening, b"a ")
                if not line:
                    return True
                self._finish(fd, opening, "" if line.startswith(b"a OK") else line.decode(errors="replace"))
                return False

    def _line(self, opening: _Opening, start: bytes) -> bytes:
        data = opening.sock.recv(4096)
        if not data:
            raise LoadError(f"closed while waiting for `{start.decode()}`")
        opening.received += data
        return _complete_line(opening.received, start)

    def _finish(self, fd: int, opening: _Opening, error: str) -> None:
        del self._opening[fd]
        self._epoll.unregister(fd)
        if error:
            self.opened.errors.append(error.strip()[:200])
            opening.sock.close()
        elif self._keep and isinstance(opening.sock, ssl.SSLSocket):
            self.opened.sessions.append(opening.sock)
        else:
            close(opening.sock)


def open_many(
    target: Target, context: ssl.SSLContext, count: int, *, at_once: int, timeout_s: float, keep: bool = True
) -> Opened:
    """Open `count` sessions, `at_once` at a time; `keep=False` closes each as soon as it is logged in."""
    return _Opener(target, context, keep=keep).run(count, at_once, timeout_s)


def noops_busy(sessions: list[ssl.SSLSocket], total: int, timeout_s: float) -> None:
    """`total` NOOPs over all sessions, each session asking its next as soon as it has its answer."""
    deadline = time.monotonic() + timeout_s
    epoll = select.epoll()
    by_fd = {sock.fileno(): sock for sock in sessions}
    for fd, sock in by_fd.items():
        sock.settimeout(0.0)
        epoll.register(fd, select.EPOLLIN)
        sock.send(b"n NOOP\r\n")
    asked, answered = len(sessions), 0
    partial: dict[int, bytes] = {}
    while answered < total:
        for fd, _ in epoll.poll(1.0):
            try:
                reply = by_fd[fd].recv(4096)
            except ssl.SSLWantReadError:
                continue
            if partial:
                reply = partial.pop(fd, b"") + reply
            if reply and not reply.endswith(b"\r\n"):  # Dovecot cuts where its ring buffer ends
                partial[fd] = reply
                continue
            if not reply.startswith(b"n OK"):
                raise LoadError(f"unexpected answer to NOOP: {reply[:80]!r}")
            answered += 1
            if asked < total:
                by_fd[fd].send(b"n NOOP\r\n")
                asked += 1
        if time.monotonic() > deadline:
            raise LoadError(f"only {answered} of {total} NOOPs within {timeout_s:.0f} s")
    epoll.close()


# -- shared ------------------------------------------------------------------------------------------------------------


def _phone_addresses() -> Iterator[str]:
    for number in _phone_numbers:
        yield f"127.{64 + number // 62500 % 64}.{number // 250 % 250}.{number % 250 + 1}"


_addresses = _phone_addresses()


def _dial(timeout_s: float) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((next(_addresses), 0))
    return sock


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(4096)
    if not data:
        raise LoadError("closed by the peer")
    return data


def _complete_line(received: bytes, start: bytes) -> bytes:
    """The first complete line that begins with `start`; empty while there is none."""
    for line in received.splitlines(keepends=True):
        if line.startswith(start) and line.endswith(b"\r\n"):
            return line
    return b""


def _read_until(sock: socket.socket, start: bytes) -> bytes:
    received = b""
    while not (line := _complete_line(received, start)):
        received += _some(sock)
        if len(received) > 64 * 1024:
            raise LoadError(f"64 KiB without a line that starts with `{start.decode()}`")
    return line
