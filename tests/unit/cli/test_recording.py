"""Recording an import, with and without a running gate."""

import asyncio
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.audit.event import EventCode
from gatekeeper.cli.recording import record_inventory
from gatekeeper.server.clock import SystemClock

CONFIGURATION = """
[[listener]]
name = "imap"
protocol = "imap"
bind = "127.0.0.1:0"
tls = "off"
[upstream.imap]
address = "127.0.0.1:143"
tls = "off"
"""
PATH = Path("gatekeeper.toml")
DETAIL: dict[str, str | int] = {"file_sha256": "ab" * 32, "created": 3}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration in the current directory."""
    monkeypatch.chdir(tmp_path)
    PATH.write_text(CONFIGURATION)


def records() -> list[dict[str, object]]:
    """What the audit log holds about inventories."""
    lines = [line for path in sorted(Path("var/audit").rglob("*.jsonl")) for line in path.read_text().splitlines()]
    found = [json.loads(line) for line in lines]
    return [one for one in found if one["metadata"]["event_code"] == EventCode.INVENTORY_IMPORTED]


@contextmanager
def another_writer() -> Iterator[None]:
    """The running gate: it holds the audit log."""

    async def hold() -> None:
        log = FileAuditLog.open(Path("var/audit"), origin="x.example/1", clock=SystemClock(), address_prefix=None)
        held.set()
        await asyncio.to_thread(over.wait)
        await log.close()

    held, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=asyncio.run, args=[hold()])
    thread.start()
    assert held.wait(20)
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def control_socket(status: int, told: list[object]) -> Iterator[None]:
    """The running gate's socket: keeps what it is told."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((self.path, json.loads(body)))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with socketserver.UnixStreamServer("var/control.sock", Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def record(*, gate_knows: bool = False) -> None:
    """Record an import."""
    record_inventory(PATH, EventCode.INVENTORY_IMPORTED, DETAIL, gate_knows=gate_knows)


def test_without_a_gate_it_is_recorded_here(capsys: pytest.CaptureFixture[str]) -> None:
    """This process is the one writer for a moment; the next may be it as well."""
    record(gate_knows=True)
    record()

    assert len(records()) == 2
    assert "ab" * 32 in json.dumps(records()[0])
    assert capsys.readouterr() == ("", "")


def test_a_gate_that_hears_of_it_records_it_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is recorded twice."""
    with another_writer():
        record(gate_knows=True)

    assert records() == []
    assert capsys.readouterr() == ("", "")


def test_a_gate_that_cannot_know_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """By its control socket, with code and detail."""
    told: list[object] = []
    with another_writer(), control_socket(200, told):
        record()

    assert told == [("/record", {"code": EventCode.INVENTORY_IMPORTED.value, "detail": DETAIL})]
    assert capsys.readouterr().err == ""


def test_a_gate_that_does_not_take_it_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """The import stands all the same."""
    with another_writer(), control_socket(500, []):
        record()

    assert capsys.readouterr().err == "warning: the running gate did not record this\n"


def test_a_gate_that_does_not_answer_is_75(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody holds the log, and nobody can be told."""
    with another_writer(), pytest.raises(SystemExit) as ended:
        record()

    assert ended.value.code == 75
    assert "no gatekeeper answers at `var/control.sock`" in capsys.readouterr().err


def test_without_a_configuration_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no log that it belongs to."""
    PATH.unlink()
    record()

    assert capsys.readouterr().err == "note: not recorded in an audit log, for there is no configuration\n"
    assert not Path("var").exists()


def test_a_log_that_cannot_be_opened_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """The import stands all the same."""
    Path("var").mkdir()
    Path("var/audit").touch()
    record()

    assert capsys.readouterr().err.startswith("warning: this is not recorded: ")
