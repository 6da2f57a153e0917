"""Four protocols before log-in, spoken alike: for attacks that each of them must withstand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gatekeeper.enforcement.imap import replies as imap
from gatekeeper.enforcement.pop3 import replies as pop3
from gatekeeper.enforcement.sieve import replies as sieve
from gatekeeper.enforcement.smtp import replies as smtp
from testkit.ports import LOOPBACK, free_port
from testkit.recorder import Recorder, Script
from testkit.sieve import reply as sieve_reply
from testkit.wire import Wire

CRLF = b"\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One of them. Lines are without their ends."""

    greeted: Callable[[Wire], list[bytes]]
    """Come to where a log-in may be tried; all that the client was told."""
    authenticate: bytes
    """The command, to be filled with mechanism and initial response."""
    empty: bytes
    """An empty initial response."""
    accepted: bytes
    """How a log-in that went well is answered; the beginning."""
    wrong: bytes
    not_another: bytes
    not_offered: bytes
    fault: bytes
    noop: bytes
    """Any command for after the log-in; each is answered by one line."""

    def ask(self, wire: Wire, mechanism: bytes, response: bytes) -> bytes:
        """Try to log in, and return the one line that answers."""
        wire.send(self.authenticate % (mechanism, response) + CRLF)
        return wire.line()


def _smtp_greeted(wire: Wire) -> list[bytes]:
    return wire.smtp_reply() + wire.smtp(b"EHLO phone.example.com")


def _pop3_greeted(wire: Wire) -> list[bytes]:
    return [wire.line(), *wire.pop3(b"CAPA", lists=True)]


SPOKEN: Mapping[str, Spoken] = {
    "imap": Spoken(
        greeted=lambda wire: [wire.line()],
        authenticate=b"a AUTHENTICATE %b %b",
        empty=b"=",
        accepted=b"a OK ",
        wrong=b"a " + imap.WRONG_CREDENTIALS,
        not_another=b"a " + imap.NOT_ANOTHER,
        not_offered=b"a " + imap.NOT_OFFERED,
        fault=b"a " + imap.FAULT,
        noop=b"b NOOP",
    ),
    "smtp": Spoken(
        greeted=_smtp_greeted,
        authenticate=b"AUTH %b %b",
        empty=b"=",
        accepted=b"235 ",
        wrong=smtp.WRONG_CREDENTIALS,
        not_another=smtp.NOT_ANOTHER,
        not_offered=smtp.NO_SUCH_MECHANISM,
        fault=smtp.FAULT,
        noop=b"NOOP",
    ),
    "pop3": Spoken(
        greeted=_pop3_greeted,
        authenticate=b"AUTH %b %b",
        empty=b"=",
        accepted=b"+OK ",
        wrong=pop3.WRONG_CREDENTIALS,
        not_another=pop3.NOT_ANOTHER,
        not_offered=pop3.NOT_OFFERED,
        fault=pop3.FAULT,
        noop=b"NOOP",
    ),
    "sieve": Spoken(
        greeted=sieve_reply,
        authenticate=b'AUTHENTICATE "%b" "%b"',
        empty=b"",
        accepted=b"OK ",
        wrong=sieve.WRONG_CREDENTIALS.strip(),
        not_another=sieve.NOT_ANOTHER.strip(),
        not_offered=sieve.NOT_OFFERED.strip(),
        fault=sieve.FAULT.strip(),
        noop=b"NOOP",
    ),
}


def recorders(**script: object) -> dict[str, Recorder]:
    """Return a recording mail server for each protocol."""
    return {protocol: Recorder(Script(protocol=protocol, **script)) for protocol in SPOKEN}  # type: ignore[arg-type]  # a protocol's name, and keywords of Script


def listeners(mode: str = "implicit") -> list[dict[str, object]]:
    """Return a listener for each protocol."""
    return [
        {"name": protocol, "protocol": protocol, "bind": f"{LOOPBACK}:{free_port()}", "tls": mode}
        for protocol in SPOKEN
    ]


def port_of(configuration: Mapping[str, object], protocol: str) -> int:
    """Return where the listener of `listeners` with this protocol is."""
    tables = configuration["listener"]
    assert isinstance(tables, list)
    (bind,) = [table["bind"] for table in tables if table["name"] == protocol]
    return int(bind.rpartition(":")[2])
