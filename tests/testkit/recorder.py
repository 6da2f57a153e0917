"""A mail server that records every byte it gets and answers as it was told; IMAP, SMTP or POP3, each connection a thread.

It understands just enough to let a proxy log in (and no more): capabilities, ID, EHLO, STARTTLS, LOGIN with
any kind of string, SASL with and without initial response. From the log-in on it answers each line with a fixed OK.
"""

import base64
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from testkit.ports import LOOPBACK

_LITERAL = re.compile(rb"\{(\d+)(\+?)\}$")
_STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^\s"{]+)')
_CHALLENGES = {"LOGIN": (b"Username:", b"Password:")}
_OAUTH = ("XOAUTH2", "OAUTHBEARER")
OAUTH_ERROR = b'{"status":"invalid_token","scope":"mail"}'


@dataclass(slots=True)
class Recorded:
    """What one connection brought."""

    received: bytearray = field(default_factory=bytearray)
    """Every byte, after TLS."""
    logged_in_at: int | None = None
    """How many bytes had come when the log-in succeeded."""
    sasl: list[tuple[str, bytes]] = field(default_factory=list)
    """Mechanism and decoded responses, as they came; LOGIN commands as mechanism `LOGIN` with `user NUL password`."""
    ended: bool = False
    aborted: bool = False
    """The connection ended by a reset, or in the midst of TLS: what came may be cut short."""

    @property
    def after_login(self) -> bytes:
        """The bytes that came after the log-in had succeeded."""
        return b"" if self.logged_in_at is None else bytes(self.received[self.logged_in_at :])


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How the server behaves."""

    protocol: Literal["imap", "smtp", "pop3"] = "imap"
    passwords: Mapping[str, str] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()
    accepts_all: bool = False
    """Any password and any token will do."""
    features: tuple[bytes, ...] = (
        b"PIPELINING",
        b"SIZE 67108864",
        b"8BITMIME",
        b"AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER",
    )
    """What SMTP's EHLO offers."""
    tls: ssl.SSLContext | None = None
    mode: Literal["off", "implicit", "starttls"] = "off"
    greeting: bytes | None = None
    """In place of the usual greeting; the connection ends after it."""
    silent: bool = False
    """Accept connections and never say a word."""
    act: Callable[["Peer"], None] | None = None
    """In place of the whole dialogue, after implicit TLS: a server that misbehaves. All that still comes is noted."""
    before_data: Callable[[Recorded], None] | None = None
    """Called once per connection, before the first byte that follows the log-in is taken note of."""


class _EndedError(Exception):
    """The peer went away."""


class Recorder:
    """The listening server; `stop` ends it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        """How connections that come from now on are served."""
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[Recorded] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def logged_in(self) -> list[Recorded]:
        """Return the connections whose log-in succeeded."""
        return [one for one in self.connections if one.logged_in_at is not None]

    def stop(self) -> None:
        """Close every connection and wait for the threads."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it ended by itself in the meantime
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            recorded = Recorded()
            self.connections.append(recorded)
            thread = threading.Thread(target=self._serve, args=(connection, recorded), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, recorded: Recorded) -> None:
        self._open.add(connection)
        peer = Peer(connection, recorded)
        dialogue = _DIALOGUES[self.script.protocol](peer, self.script)
        try:
            dialogue.run()
        except _EndedError:
            pass
        except OSError:
            recorded.aborted = True  # a peer that refuses our certificate is a normal end here, too
        finally:
            recorded.ended = True
            self._open.discard(connection)
            peer.close()


class Peer:
    """The server's end of a connection: buffered reading with a record of all that was read."""

    def __init__(self, connection: socket.socket, recorded: Recorded) -> None:
        self.socket = connection
        self.recorded = recorded
        self._buffer = bytearray()

    def secure(self, context: ssl.SSLContext) -> None:
        """Begin TLS."""
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def line(self) -> bytes:
        """Return the next line without its end."""
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill()
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        self._take(end + 1)
        return line

    def exactly(self, count: int) -> bytes:
        """Return so many octets."""
        while len(self._buffer) < count:
            self._fill()
        data = bytes(self._buffer[:count])
        self._take(count)
        return data

    def chunk(self) -> bytes:
        """Return what comes next."""
        if not self._buffer:
            self._fill()
        data = bytes(self._buffer)
        self._take(len(data))
        return data

    def wait(self) -> None:
        """Return when there is something to read that was not yet counted as received."""
        if not self._buffer:
            self._fill()

    def close(self) -> None:
        """Close without a word."""
        self.socket.close()

    def reset(self) -> None:
        """Close by a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _fill(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise _EndedError
        self._buffer += data

    def _take(self, count: int) -> None:
        self.recorded.received += self._buffer[:count]
        del self._buffer[:count]


class _Dialogue:
    """What both protocols share: TLS, the judgement of credentials, the time after the log-in."""

    def __init__(self, peer: Peer, script: Script) -> None:
        self.peer = peer
        self.script = script
        self.secured = script.mode == "implicit"

    def run(self) -> None:
        if self.script.silent:
            while True:
                self.peer.chunk()
        if self.script.mode == "implicit":
            assert self.script.tls is not None
            self.peer.secure(self.script.tls)
        if self.script.act is not None:
            self.script.act(self.peer)
            while True:
                self.peer.chunk()
        if self.script.greeting is not None:
            self.peer.send(self.script.greeting)
            return
        self.talk()

    def talk(self) -> None:
        raise NotImplementedError

    def start_tls(self) -> None:
        assert self.script.tls is not None
        self.peer.secure(self.script.tls)
        self.secured = True

    def accepts(self, mechanism: str, response: bytes) -> bool:
        self.peer.recorded.sasl.append((mechanism, response))
        if self.script.accepts_all:
            return True
        if mechanism in _OAUTH:
            return any(f"auth=Bearer {token}\x01".encode() in response for token in self.script.tokens)
        user, _, password = response.rpartition(b"\0")
        user = user.rpartition(b"\0")[2]
        return self.script.passwords.get(user.decode(), "\0").encode() == password

    def sasl(self, mechanism: str, initial: bytes | None, ask: Callable[[bytes], bytes]) -> bool:
        """Run an exchange; `ask` sends a challenge and returns the decoded response."""
        if mechanism == "LOGIN":
            first, second = _CHALLENGES["LOGIN"]
            response = b"\0".join((ask(first) if initial is None else initial, ask(second)))
        else:
            response = ask(b"") if initial is None else initial
        accepted = self.accepts(mechanism, response)
        if not accepted and mechanism in _OAUTH:
            ask(OAUTH_ERROR)  # RFC 7628 §3.2.3: the client answers the error before the final refusal
        return accepted

    def after_login(self, answer: Callable[[bytes], bytes]) -> None:
        self.peer.recorded.logged_in_at = len(self.peer.recorded.received)
        pending = b""
        self.peer.wait()
        if self.script.before_data is not None:
            self.script.before_data(self.peer.recorded)
        while True:
            *lines, pending = (pending + self.peer.chunk()).split(b"\n")
            for line in lines:
                self.peer.send(answer(line))


class _Imap(_Dialogue):
    def talk(self) -> None:
        self.peer.send(b"* OK [CAPABILITY " + self.capabilities() + b"] recorder ready\r\n")
        while True:
            tag, _, rest = self.command().partition(b" ")
            word = rest.split(b" ", 1)[0].upper()
            if word == b"STARTTLS" and self.script.mode == "starttls":
                self.peer.send(tag + b" OK begin TLS\r\n")
                self.start_tls()
            elif word in (b"LOGIN", b"AUTHENTICATE"):
                accepted = self.login(rest) if word == b"LOGIN" else self.authenticate(rest)
                if accepted:
                    self.peer.send(tag + b" OK [CAPABILITY IMAP4rev1 IDLE] logged in\r\n")
                    self.after_login(lambda line: line.split(b" ", 1)[0] + b" OK done\r\n")
                self.peer.send(tag + b" NO [AUTHENTICATIONFAILED] recorder says no\r\n")
            elif word == b"LOGOUT":
                self.peer.send(b"* BYE\r\n" + tag + b" OK bye\r\n")
                return
            else:
                self.peer.send(self.untagged(word) + tag + b" OK done\r\n")

    def capabilities(self) -> bytes:
        offered = b"IMAP4rev1 SASL-IR LITERAL+ ID IDLE AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH2 AUTH=OAUTHBEARER"
        return offered + (b" STARTTLS" if self.script.mode == "starttls" and not self.secured else b"")

    def untagged(self, word: bytes) -> bytes:
        if word == b"CAPABILITY":
            return b"* CAPABILITY " + self.capabilities() + b"\r\n"
        return b'* ID ("name" "recorder")\r\n' if word == b"ID" else b""

    def command(self) -> bytes:
        """Return a command with its literals written as quoted strings."""
        whole = b""
        while True:
            line = self.peer.line()
            literal = _LITERAL.search(line)
            if literal is None:
                return whole + line
            if not literal[2]:
                self.peer.send(b"+ go on\r\n")
            data = self.peer.exactly(int(literal[1]))
            whole += line[: literal.start()] + b'"' + re.sub(rb'(["\\])', rb"\\\1", data) + b'"'

    def login(self, rest: bytes) -> bool:
        strings = [
            re.sub(rb"\\(.)", rb"\1", quoted) if quoted or not atom else atom
            for quoted, atom in _STRING.findall(rest.split(b" ", 1)[1])
        ]
        return self.accepts("LOGIN", b"\0".join(strings))

    def authenticate(self, rest: bytes) -> bool:
        _, mechanism, *initial = rest.split(b" ")
        return self.sasl(mechanism.decode().upper(), _decoded(initial), self.ask)

    def ask(self, challenge: bytes) -> bytes:
        self.peer.send(b"+ " + base64.b64encode(challenge) + b"\r\n")
        return base64.b64decode(self.peer.line())


class _Smtp(_Dialogue):
    def talk(self) -> None:
        self.peer.send(b"220 recorder ESMTP\r\n")
        while True:
            line = self.peer.line()
            word = line.split(b" ", 1)[0].upper()
            if word == b"EHLO":
                self.peer.send(self.features())
            elif word == b"STARTTLS" and self.script.mode == "starttls":
                self.peer.send(b"220 2.0.0 begin TLS\r\n")
                self.start_tls()
            elif word == b"AUTH":
                _, mechanism, *initial = line.split(b" ")
                if self.sasl(mechanism.decode().upper(), _decoded(initial), self.ask):
                    self.peer.send(b"235 2.7.0 logged in\r\n")
                    self.after_login(lambda line: b"221 2.0.0 bye\r\n" if _is_quit(line) else b"250 2.0.0 done\r\n")
                self.peer.send(b"535 5.7.8 recorder says no\r\n")
            elif word == b"QUIT":
                self.peer.send(b"221 2.0.0 bye\r\n")
                return
            else:
                self.peer.send(b"250 2.0.0 done\r\n")

    def features(self) -> bytes:
        features = [b"recorder", *self.script.features]
        if self.script.mode == "starttls" and not self.secured:
            features.append(b"STARTTLS")
        return b"".join(b"250-" + one + b"\r\n" for one in features[:-1]) + b"250 " + features[-1] + b"\r\n"

    def ask(self, challenge: bytes) -> bytes:
        self.peer.send(b"334 " + base64.b64encode(challenge) + b"\r\n")
        return base64.b64decode(self.peer.line())


class _Pop3(_Dialogue):
    def talk(self) -> None:
        self.peer.send(b"+OK recorder ready\r\n")
        while True:
            line = self.peer.line()
            word = line.split(b" ", 1)[0].upper()
            if word == b"CAPA":
                self.peer.send(self.capabilities())
            elif word == b"STLS" and self.script.mode == "starttls":
                self.peer.send(b"+OK begin TLS\r\n")
                self.start_tls()
            elif word == b"AUTH":
                _, mechanism, *initial = line.split(b" ")
                if self.sasl(mechanism.decode().upper(), _decoded(initial), self.ask):
                    self.peer.send(b"+OK logged in\r\n")
                    self.after_login(lambda line: b"+OK bye\r\n" if _is_quit(line) else b"+OK done\r\n")
                self.peer.send(b"-ERR [AUTH] recorder says no\r\n")
            elif word == b"QUIT":
                self.peer.send(b"+OK bye\r\n")
                return
            else:
                self.peer.send(b"-ERR what\r\n")

    def capabilities(self) -> bytes:
        capabilities = [b"TOP", b"UIDL", b"PIPELINING", b"UTF8", b"X-AROUND", b"SASL PLAIN XOAUTH2 OAUTHBEARER"]
        if self.script.mode == "starttls" and not self.secured:
            capabilities.append(b"STLS")
        return b"+OK\r\n" + b"".join(one + b"\r\n" for one in capabilities) + b".\r\n"

    def ask(self, challenge: bytes) -> bytes:
        self.peer.send(b"+ " + base64.b64encode(challenge) + b"\r\n")
        return base64.b64decode(self.peer.line())


_DIALOGUES: Mapping[str, type[_Dialogue]] = {"imap": _Imap, "smtp": _Smtp, "pop3": _Pop3}


def _is_quit(line: bytes) -> bool:
    return line.strip().upper() == b"QUIT"


def _decoded(initial: list[bytes]) -> bytes | None:
    if not initial:
        return None
    return b"" if initial[0] == b"=" else base64.b64decode(initial[0])
