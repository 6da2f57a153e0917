"""Recording what a command did or read, with and without a running gate."""

import asyncio
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.audit.event import EventCode
from gatekeeper.cli.main import cli
from gatekeeper.cli.recording import as_owner_of, record_inventory, recorded_read, whoever
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
    """A configuration in the current directory; the gate is a thread of this process, which may have to wait for it."""
    monkeypatch.setattr("gatekeeper.cli.recording._GATE_WITHIN_S", 60.0)
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


def reads() -> list[dict[str, object]]:
    """What the audit log holds about those who read it."""
    lines = [line for path in sorted(Path("var/audit").rglob("*.jsonl")) for line in path.read_text().splitlines()]
    found = [json.loads(line) for line in lines]
    return [one["unmapped"]["gatekeeper"] for one in found if one["metadata"]["event_code"] == EventCode.AUDIT_EXPORTED]


QUERY: dict[str, str | int] = {"what": "query", "asked": "user=alice@example.com", "records_n": 2}


def query(directory: Path = Path("var/audit")) -> None:
    """Somebody was shown two records."""
    with recorded_read(PATH, directory, {"what": "query", "asked": "user=alice@example.com"}) as taken:
        taken.records += 2


def test_who_read_the_log_is_recorded_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Also when the reading ended in an error; in the gate's words, with the account."""
    record()
    query()
    with pytest.raises(KeyboardInterrupt), recorded_read(PATH, Path("var/audit"), {"what": "tail"}):
        raise KeyboardInterrupt

    first, second = reads()
    assert {name: first[name] for name in QUERY} == QUERY
    assert first["by"] == whoever()
    assert (second["what"], second["records_n"]) == ("tail", 0)
    assert capsys.readouterr() == ("", "")


def test_a_running_gate_records_who_read_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    """It is told; when it cannot, or nobody answers, the reader is told and goes on."""
    told: list[object] = []
    with another_writer():
        with control_socket(200, told):
            query()
        assert told == [("/record", {"code": "GK5001I", "detail": {**QUERY, "by": whoever()}})]
        assert capsys.readouterr().err == ""
        Path("var/control.sock").unlink()
        with control_socket(503, told):
            query()
        assert capsys.readouterr().err == "note: the running gate did not record this\n"
        Path("var/control.sock").unlink()
        query()
        assert capsys.readouterr().err.startswith("note: this is not recorded: the gate writes the log")


def test_the_log_of_a_worker_is_no_copy(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads one worker's log reads the gate's."""
    PATH.write_text(CONFIGURATION + "[server]\nworkers = 2\n")
    record()
    query(Path("var/audit/worker-1"))
    assert len(reads()) == 1
    query(Path())
    assert (
        capsys.readouterr().err
        == "note: this is not the log of a gate that is configured here, so nothing is recorded\n"
    )
    assert len(reads()) == 1


def test_where_there_is_no_log_none_is_begun() -> None:
    """A reader is not the one who makes the first record, or the key."""
    Path("var/audit").mkdir(parents=True)
    query()
    assert not list(Path("var/audit").iterdir())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another account")
def test_root_writes_as_the_account_of_the_log() -> None:
    """The gate goes on from what it can read; a third account leaves the log alone."""
    record()
    nobody, other = 65534, 65533
    for path in (Path("var"), *Path("var").rglob("*")):
        os.chown(path, nobody, nobody)
    before = set(Path("var/audit").rglob("*"))
    for path in (Path.cwd(), *Path.cwd().resolve().parents[:3]):
        path.chmod(0o755)
    query()
    made = set(Path("var/audit").rglob("*")) - before
    assert made
    assert {path.stat().st_uid for path in Path("var/audit").rglob("*")} == {nobody}
    assert os.geteuid() == 0
    os.seteuid(other)
    try:
        with pytest.raises(AuditLogError, match="another account"), as_owner_of(Path("var/audit")):
            pass
    finally:
        os.seteuid(0)
    assert len(reads()) == 1


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM], ids=lambda end: end.name)
def test_a_log_that_is_followed_has_a_beginning_and_an_end(
    monkeypatch: pytest.MonkeyPatch, end: signal.Signals
) -> None:
    """Whoever looks on for hours is on record from the first minute; also when the terminal goes away."""

    def interrupt(_: float) -> None:
        signal.raise_signal(end)

    record()
    monkeypatch.setattr("gatekeeper.cli.audit.pause", interrupt)
    # As in a terminal: a test that runs beside others may be deaf to SIGINT.
    before = signal.signal(end, signal.default_int_handler if end is signal.SIGINT else signal.SIG_DFL)
    try:
        result = CliRunner().invoke(cli, ["--config", str(PATH), "audit", "tail", "-n", "2", "-f", "--json"])
    finally:
        signal.signal(end, before)
    assert result.exit_code == 0, result.output
    told = [(one["what"], one["asked"], one["records_n"]) for one in reads()]
    assert told[0] == ("tail -f begun", "everything", 2)
    assert told[1][:2] == ("tail -f", "everything")


def test_a_command_that_was_piped_away_is_on_record(capfd: pytest.CaptureFixture[str]) -> None:
    """`audit query | head -1` ends early, and has read all the same."""
    record()
    config = f"--config {PATH.resolve()}"
    shell = f"{sys.executable} -m gatekeeper {config} audit query --json | true"
    subprocess.run(["sh", "-c", shell], check=True)
    capfd.readouterr()
    (told,) = reads()
    assert told["what"] == "query"
