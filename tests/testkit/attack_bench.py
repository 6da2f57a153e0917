"""A gate in front of recording mail servers, to attack: what the client got, what a server got, what was recorded.

Connections are told apart by the client's address and port, which the bench's audit log keeps whole.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testkit import undisturbed_gate
from testkit.gate import TERMINAL, GateProcess, Record, code, detail, upstream
from testkit.ports import LOOPBACK
from testkit.recorder import Recorded, Recorder
from testkit.waiting import eventually
from testkit.wire import Wire

ENDED, REFUSED, EXPOSED, FAULT = "GK1104I", "GK1011W", "GK1012W", "GK1007E"
"""Connection without a session, credentials refused, credentials in the clear, fault of the gate."""
ALLOWED, OVER = "GK1001I", "GK1102I"
"""A session began, and was over."""
DENIED_APP = "GK1002W"

_Place = tuple[str, int]
"""A client's address and port."""

_PROBE = re.compile(rb"(?:pc CAPABILITY\r\n|EHLO localhost\r\n|CAPA\r\n)?")
"""What the gate says of its own when it only asks what a server offers."""


class AttackedGate(GateProcess):
    """One that asks no mail server anything in the midst of an attack."""

    # Without `-P` its neighbours would stand in for modules of their names.
    _program = ("-P", undisturbed_gate.__file__)


class AuditTail:
    """Reads a growing audit log, each record once."""

    def __init__(self, directory: Path) -> None:
        self._segments = directory / "segments"
        self._read: dict[Path, int] = {}
        self._records: dict[str, list[Record]] = {}
        """Of each connection that is the latest from its place."""
        self._conn_from: dict[_Place, str] = {}
        self._past: set[str] = set()
        """Connections that are of no interest any more, whatever is still recorded of them."""

    def forget(self) -> None:
        """Let go of everything recorded so far: a port may come again."""
        self._go_on()
        self._past.update(self._records)
        self._records.clear()
        self._conn_from.clear()

    def of(self, port: int, address: str = LOOPBACK) -> list[Record]:
        """Return the records of the connection from `port`, the terminal one last; wait for that one."""

        def found() -> list[Record]:
            return self._records.get(self._conn_from.get((address, port), ""), [])

        def ended() -> bool:
            self._go_on()
            return any(code(record) in TERMINAL for record in found())

        eventually(ended, within=10, what=lambda: f"no terminal record of {address}:{port}: {found()}")
        records = found()
        assert code(records[-1]) in TERMINAL, "nothing is recorded after the terminal record"
        return records

    def _go_on(self) -> None:
        for path in sorted(self._segments.glob("*.jsonl")):
            with path.open("rb") as segment:
                segment.seek(self._read.get(path, 0))
                *lines, rest = segment.read().split(b"\n")
                self._read[path] = segment.tell() - len(rest)
            for line in lines:
                self._take(json.loads(line))

    def _take(self, record: Record) -> None:
        conn = detail(record).get("conn")
        source = record.get("src_endpoint", {})
        if conn is None or conn in self._past:
            return
        if "port" in source:
            place = (source["ip"], source["port"])
            before = self._conn_from.get(place, conn)
            if before != conn:  # the kernel gave a port of before to a new connection
                self._past.add(before)
                self._records.pop(before, None)
            self._conn_from[place] = conn
            self._records.setdefault(conn, [])
        if conn in self._records:
            self._records[conn].append(record)


@dataclass(slots=True)
class Bench:
    """A running gate with its mail servers."""

    gate: GateProcess
    servers: dict[str, Recorder]
    """By protocol."""
    audit: AuditTail

    def watch(self, protocol: str) -> "Watch":
        """Note from now on what the mail server gets."""
        return Watch(self, self.servers[protocol])

    def codes(self, port: int, address: str = LOOPBACK) -> list[str]:
        """Return the event codes of the ended connection from `port`."""
        return [code(record) for record in self.audit.of(port, address)]


class Watch:
    """What a mail server got since."""

    def __init__(self, bench: Bench, server: Recorder) -> None:
        self._server = server
        self._before = len(server.connections)

    def connections(self) -> list[Recorded]:
        """Return the connections that brought more than the gate's own question for the offer, ended."""
        new = self._server.connections[self._before :]
        eventually(lambda: all(one.ended for one in new), within=10, what="the ends of the upstream's connections")
        return [one for one in new if not _PROBE.fullmatch(bytes(one.received))]

    def sasl(self) -> list[tuple[str, bytes]]:
        """Return mechanism and response of every log-in that was tried."""
        return [login for one in self.connections() for login in one.sasl]

    def after_login(self) -> list[bytes]:
        """Return the octets behind each successful log-in."""
        return [one.after_login for one in self.connections() if one.logged_in_at is not None]


def say(wire: Wire, *pieces: bytes) -> None:
    """Send every piece by itself; who is cut off in the midst of it has said enough."""
    with suppress(OSError):
        for piece in pieces:
            wire.send(piece)


def by_lines(sent: bytes) -> Iterator[bytes]:
    """Cut behind every line."""
    yield from sent.splitlines(keepends=True)


def upstreams(servers: dict[str, Recorder]) -> dict[str, object]:
    """Return the `[upstream]` tables of plain recording servers."""
    tells = {"imap": "id", "smtp": "xclient"}
    return {
        protocol: upstream(one.port) | {"client_address": tells.get(protocol, "none")}
        for protocol, one in servers.items()
    }
