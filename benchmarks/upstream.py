"""The mail server behind every peer: an IMAP stub that costs next to nothing, so that it is never what limits.

One process, one epoll, plain TCP on loopback, thousands of connections. It checks the password, answers what phones and
proxies ask around a log-in, and knows two commands of its own for bulk traffic:

    tag XSTREAM <n>      one FETCH response whose literal has n octets (server to phone)
    tag XSINK {n+}       n octets are read and forgotten (phone to server)

Usage: upstream.py PORT USER PASSWORD. Runs until it is terminated. It trusts its clients: loopback and benchmarks only.
"""

import base64
import contextlib
import re
import resource
import select
import signal
import socket
import sys
import types

LOGGED_IN_CAPABILITIES = b"IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ UIDPLUS"
"""As Dovecot has it: nothing more to log in with, and LOGIN-REFERRALS, for which the gate follows the answers."""
CAPABILITIES = LOGGED_IN_CAPABILITIES + b" AUTH=PLAIN"
GREETING = b"* OK [CAPABILITY " + CAPABILITIES + b"] stub ready\r\n"
BLOCK = bytes(range(32, 96)) * 4096  # 256 KiB of printable octets
READ_OCTETS = 256 * 1024
TURN_OCTETS = 128 * 1024
"""What one stream may send before the next connection has its turn: a NOOP never waits long for a stream."""
MAX_LITERAL_OCTETS = 64 * 1024
MAX_LINE_OCTETS = 64 * 1024

_LITERAL = re.compile(rb"\{(\d{1,15})(\+?)\}\Z")
_ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"|\{\d+\+?\}\r\n|([^ "{\r\n]+)', re.DOTALL)


class Connection:
    """One client; what it has sent and what is still owed to it."""

    __slots__ = (
        "authenticated",
        "command",
        "expects",
        "fd",
        "idle_tag",
        "literal_left",
        "logout",
        "out",
        "plain_tag",
        "received",
        "sink_left",
        "sink_tag",
        "sock",
        "stream_left",
        "stream_tag",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.received = bytearray()
        self.command = bytearray()
        """The command so far, when literals cut it into pieces."""
        self.literal_left = 0
        self.sink_left = 0
        self.stream_left = 0
        self.sink_tag = self.stream_tag = self.idle_tag = self.plain_tag = b""
        self.out = bytearray()
        self.expects = select.EPOLLIN
        self.authenticated = self.logout = False


class Server:
    """The epoll loop and the commands."""

    def __init__(self, listener: socket.socket, user: bytes, password: bytes) -> None:
        self._listener = listener
        self._user = user
        self._password = password
        self._epoll = select.epoll()
        self._epoll.register(listener.fileno(), select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._shared = bytearray(READ_OCTETS)
        self._view = memoryview(self._shared)
        self._block = memoryview(BLOCK)

    def run(self) -> None:
        """Serve until the process is terminated."""
        listening = self._listener.fileno()
        while True:
            # Who asks something comes before whose stream can go on: EPOLLOUT alone sorts last.
            for fd, events in sorted(self._epoll.poll(), key=lambda ready: ready[1] == select.EPOLLOUT):
                if fd == listening:
                    self._accept()
                    continue
                connection = self._connections.get(fd)
                if connection is None:
                    continue
                try:
                    self._turn(connection, events)
                except OSError:
                    self._close(connection)

    def _turn(self, connection: Connection, events: int) -> None:
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            try:
                count = connection.sock.recv_into(self._shared)
            except BlockingIOError:
                count = -1
            if count == 0:
                self._close(connection)
                return
            if count > 0:
                self._receive(connection, count)
        self._flush(connection)

    def _accept(self) -> None:
        for _ in range(64):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.settimeout(0.0)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock)
            self._connections[connection.fd] = connection
            self._epoll.register(connection.fd, select.EPOLLIN)
            with contextlib.suppress(OSError):
                sock.send(GREETING)

    def _close(self, connection: Connection) -> None:
        if self._connections.pop(connection.fd, None) is not None:
            self._epoll.unregister(connection.fd)
            connection.sock.close()

    # -- what comes in -------------------------------------------------------------------------------------------------

    def _receive(self, connection: Connection, count: int) -> None:
        if connection.sink_left > count:
            connection.sink_left -= count  # the fast path of an upload: nothing is copied
            return
        connection.received += self._view[:count]
        while connection.received and not connection.logout and self._step(connection):
            pass

    def _step(self, connection: Connection) -> bool:
        """Take one line or one literal out of what was received; False: not enough yet."""
        received = connection.received
        if connection.sink_left:
            taken = min(connection.sink_left, len(received))
            del received[:taken]
            connection.sink_left -= taken
            return taken > 0
        if connection.literal_left:
            taken = min(connection.literal_left, len(received))
            connection.command += received[:taken]
            del received[:taken]
            connection.literal_left -= taken
            return True
        end = received.find(b"\r\n")
        if end < 0:
            if len(received) > MAX_LINE_OCTETS:
                raise OSError("line too long")
            return False
        line = bytes(received[:end])
        del received[: end + 2]
        self._line(connection, line)
        return True

    def _line(self, connection: Connection, line: bytes) -> None:
        if connection.sink_tag:  # the empty line after an upload's literal
            connection.out += connection.sink_tag + b" OK sunk\r\n"
            connection.sink_tag = b""
            return
        if connection.idle_tag:
            connection.out += connection.idle_tag + b" OK idle done\r\n"
            connection.idle_tag = b""
            return
        if connection.plain_tag:
            tag, connection.plain_tag = connection.plain_tag, b""
            self._authenticate_plain(connection, tag, line)
            return
        literal = _LITERAL.search(line) if line.endswith(b"}") else None
        if literal:
            self._literal(connection, line, int(literal[1]), bool(literal[2]))
            return
        if connection.command:
            line = bytes(connection.command) + line
            connection.command.clear()
        self._execute(connection, line)

    def _literal(self, connection: Connection, line: bytes, octets: int, non_synchronizing: bool) -> None:
        if not non_synchronizing:
            connection.out += b"+ go ahead\r\n"
        tag, _, rest = line.partition(b" ")
        if connection.authenticated and not connection.command and rest[:6].upper() == b"XSINK ":
            connection.sink_tag = tag
            connection.sink_left = octets
            return
        if octets > MAX_LITERAL_OCTETS:
            raise OSError("literal too long")
        connection.command += line + b"\r\n"
        connection.literal_left = octets

    # -- the commands --------------------------------------------------------------------------------------------------

    def _execute(self, connection: Connection, line: bytes) -> None:
        tag, _, rest = line.partition(b" ")
        name, _, argument = rest.partition(b" ")
        match name.upper():
            case b"NOOP":
                connection.out += tag + b" OK done\r\n"
            case b"CAPABILITY":
                connection.out += b"* CAPABILITY " + CAPABILITIES + b"\r\n" + tag + b" OK done\r\n"
            case b"ID":
                connection.out += b'* ID ("name" "stub")\r\n' + tag + b" OK done\r\n"
            case b"LOGIN":
                self._log_in(connection, tag, _arguments(argument))
            case b"AUTHENTICATE":
                mechanism, _, initial = argument.partition(b" ")
                if mechanism.upper() != b"PLAIN":
                    connection.out += tag + b" NO unknown mechanism\r\n"
                elif initial:
                    self._authenticate_plain(connection, tag, initial)
                else:
                    connection.plain_tag = tag
                    connection.out += b"+ \r\n"
            case b"LOGOUT":
                connection.out += b"* BYE\r\n" + tag + b" OK done\r\n"
                connection.logout = True
            case other if connection.authenticated:
                self._execute_authenticated(connection, tag, other, argument)
            case _:
                connection.out += tag + b" BAD unknown or too early\r\n"

    def _execute_authenticated(self, connection: Connection, tag: bytes, name: bytes, argument: bytes) -> None:
        match name:
            case b"SELECT" | b"EXAMINE":
                connection.out += b"* 1 EXISTS\r\n* OK [UIDVALIDITY 1] ok\r\n" + tag + b" OK [READ-WRITE] done\r\n"
            case b"FETCH" | b"UID":
                connection.out += b"* 1 FETCH (UID 1 BODY[] {16}\r\nSubject: x\r\n\r\nx\n)\r\n" + tag + b" OK done\r\n"
            case b"IDLE":
                connection.idle_tag = tag
                connection.out += b"+ idling\r\n"
            case b"XSTREAM" if argument.isdigit():
                connection.stream_left = int(argument)
                connection.stream_tag = tag
                connection.out += b"* 1 FETCH (BODY[] {" + argument + b"}\r\n"
            case _:
                connection.out += tag + b" BAD unknown\r\n"

    def _log_in(self, connection: Connection, tag: bytes, arguments: list[bytes]) -> None:
        if arguments != [self._user, self._password]:
            connection.out += tag + b" NO [AUTHENTICATIONFAILED] no\r\n"
            return
        connection.authenticated = True
        connection.out += tag + b" OK [CAPABILITY " + LOGGED_IN_CAPABILITIES + b"] logged in\r\n"

    def _authenticate_plain(self, connection: Connection, tag: bytes, response: bytes) -> None:
        try:
            parts = base64.b64decode(response, validate=True).split(b"\0")
        except ValueError:
            parts = []
        self._log_in(connection, tag, parts[1:] if parts and parts[0] in {b"", self._user} else [])

    # -- what goes out -------------------------------------------------------------------------------------------------

    def _flush(self, connection: Connection) -> None:
        blocked = self._send_some(connection)
        if connection.logout and not connection.out:
            self._close(connection)
            return
        wants = select.EPOLLIN
        if blocked or connection.stream_left:
            wants |= select.EPOLLOUT
        if wants != connection.expects:
            self._epoll.modify(connection.fd, wants)
            connection.expects = wants

    def _send_some(self, connection: Connection) -> bool:
        """Send what is owed, one turn's worth of a stream at most; whether the socket took less than offered."""
        try:
            if connection.out:
                sent = connection.sock.send(connection.out)
                del connection.out[:sent]
                if connection.out:
                    return True
            if connection.stream_left:
                offered = min(connection.stream_left, TURN_OCTETS)
                connection.stream_left -= connection.sock.send(self._block[:offered])
                if not connection.stream_left:
                    connection.out += b")\r\n" + connection.stream_tag + b" OK done\r\n"
                    return self._send_some(connection)
        except BlockingIOError:
            return True
        return False


def _arguments(text: bytes) -> list[bytes]:
    """LOGIN's arguments: atoms, quoted strings and literals (whose announcement is still in the text)."""
    found: list[bytes] = []
    position = 0
    while position < len(text):
        if text[position : position + 1] == b" ":
            position += 1
            continue
        match = _ARGUMENT.match(text, position)
        if not match:
            return []
        position = match.end()
        if match[0].startswith(b"{"):
            octets = int(match[0].strip(b"{}+\r\n"))
            found.append(text[position : position + octets])
            position += octets
        elif match[1] is not None:
            found.append(re.sub(rb"\\(.)", rb"\1", match[1]))
        else:
            found.append(match[2])
    return found


def main() -> None:
    port, user, password = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3].encode()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, _terminate)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(4096)
    listener.settimeout(0.0)
    Server(listener, user, password).run()


def _terminate(_signal: int, _frame: types.FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
