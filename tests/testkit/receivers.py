"""Receivers of audit records that tests run themselves: syslog in RFC 5425 frames, and HTTP; each a thread or two."""

import http.server
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gatekeeper.adapters.sinks.shipping.settings import Tls
from testkit.ports import LOOPBACK
from testkit.tls import Authority, KeyPair, server_context
from testkit.waiting import eventually


def mutual(pair: KeyPair, clients: Authority) -> ssl.SSLContext:
    """A server's context that wants a certificate of the authority `clients`."""
    context = server_context(pair)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(clients.ca_file)
    return context


class Certificates:
    """An authority for receivers and senders, and one certificate of each."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory, "logs")
        self.server: KeyPair = self.authority.server_certificate("receiver")
        self.gate: KeyPair = self.authority.server_certificate("gate", "gate.example.com")

    @property
    def tls(self) -> Tls:
        """What a sender that is allowed to send has."""
        return Tls(
            ca=self.authority.ca_file,
            client_certificate=self.gate.certificate,
            client_key=self.gate.private_key,
        )

    def mutual(self) -> ssl.SSLContext:
        """A receiver's context that wants such a sender."""
        return mutual(self.server, self.authority)


class SyslogReceiver:
    """Takes one connection at a time; `messages` holds what came in whole frames."""

    def __init__(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.messages: list[bytes] = []
        self.connections = 0
        self.is_reading = threading.Event()
        """While it is not set, nothing is read."""
        self.is_reading.set()
        self._context = context
        self._listener = socket.create_server((LOOPBACK, port))
        self.port: int = self._listener.getsockname()[1]
        self._open: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def wait_for(self, count: int, within: float = 10) -> list[bytes]:
        """The messages, once there are so many."""
        eventually(
            lambda: len(self.messages) >= count, within=within, what=lambda: f"{len(self.messages)} of {count} came"
        )
        return self.messages

    def hang_up(self) -> None:
        """End the open connection, as a process that is killed does."""
        sock = self._open
        if sock is not None:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """End it."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.is_reading.set()
        self.hang_up()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open = sock
            with suppress(OSError):
                self._read(sock)
            sock.close()
            self._open = None

    def _read(self, sock: socket.socket) -> None:
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_side=True)
            self._open = sock
        data = b""
        with suppress(OSError, ValueError), sock:
            while self.is_reading.wait(30) and (piece := sock.recv(65_536)):
                data += piece
                while b" " in data[:8]:
                    length, _, rest = data.partition(b" ")
                    if len(rest) < int(length):
                        break
                    self.messages.append(rest[: int(length)])
                    data = rest[int(length) :]


@dataclass
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class _Answers:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class HttpReceiver:
    """Answers every POST as `answers` says; `posted` holds all of them, `lines` those of requests that were taken."""

    def __init__(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.posted: list[Posted] = []
        self.lines: list[bytes] = []
        self.answers = _Answers()
        self.answer: Callable[[Posted], tuple[int, bytes]] | None = None
        """Instead of `answers`."""
        self._server = http.server.ThreadingHTTPServer((LOOPBACK, port), self._handler())
        self._server.daemon_threads = True
        scheme = "http"
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.port = self._server.server_port
        self.url = f"{scheme}://{'localhost' if context else LOOPBACK}:{self.port}/audit?from=gate"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def wait_for(self, count: int, within: float = 10) -> list[bytes]:
        """The lines, once there are so many."""
        eventually(lambda: len(self.lines) >= count, within=within, what=lambda: f"{len(self.lines)} of {count} came")
        return self.lines

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posted = Posted(self.path, dict(self.headers.items()), body)
                receiver.posted.append(posted)
                said = receiver.answers
                status, answer = (said.status, said.body) if receiver.answer is None else receiver.answer(posted)
                if status < 300:
                    receiver.lines += body.splitlines()
                self.send_response(status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's
                pass

        return Handler
