"""The table in docs/audit.md of what happens when the audit log cannot be written, row by row, on running gates.

Three gates, one for each `audit.existing`, lose the same disk at the same time. As root their logs lie on a small file
system of their own, which is really filled and frozen; otherwise, and for what a sound disk does not do, the system
calls of the log's writer are made to fail.
"""

import errno
import shutil
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatekeeper.cli.audit import audit
from testkit.bed import ALICE, BOB
from testkit.disks import BrokenDisk
from testkit.dovecot import Dovecot
from testkit.gate import Record, code, coded, detail, terminal_count, upstream
from testkit.gate_in_thread import GateInThread, MovableClock
from testkit.postfix import Postfix
from testkit.sessions import imap_login_reply, imap_session, smtp_login_reply
from testkit.tls import Authority
from testkit.waiting import eventually
from testkit.wire import Wire

DOCUMENT = Path(__file__).parents[2] / "docs" / "audit.md"
EXISTING = ("keep", "drain", "drop")


def _table() -> dict[str, dict[str, str]]:
    """The rows of the table, by what happens."""
    lines = iter(DOCUMENT.read_text().partition("<!-- fail-closed -->\n")[2].splitlines())
    names, _ = _cells(next(lines)), next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(names, _cells(line), strict=True)))
    return {row["what happens"]: row for row in rows}


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip("|").split("|")]


TABLE = _table()


@dataclass
class Bed:
    """Where the logs lie, and what can be done to them."""

    root: Path
    is_mounted: bool
    disk: BrokenDisk = field(default_factory=BrokenDisk)
    clock: MovableClock = field(default_factory=MovableClock)
    gates: dict[str, GateInThread] = field(default_factory=dict)
    let_in: Counter[str] = field(default_factory=Counter)
    """How many log-ins each gate said OK to."""

    def log_in(self, existing: str, context: ssl.SSLContext) -> bytes:
        """Log in, and note when that succeeds."""
        reply = imap_login_reply(self.gates[existing].ports.imaps, context, ALICE)
        self.let_in[existing] += reply.startswith(b"OK")
        return reply

    @contextmanager
    def full(self) -> Iterator[None]:
        """Take every free octet."""
        if not self.is_mounted:
            with self.failing(errno.ENOSPC):
                yield
            return
        filler = self.root / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def failing(self, error: int) -> Iterator[None]:
        """Every call that changes something fails."""
        self.disk.error = error
        try:
            yield
        finally:
            self.disk.error = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Nothing that is written returns."""
        if not self.is_mounted:
            self.disk.answers.clear()
        else:
            subprocess.run(["fsfreeze", "--freeze", self.root], check=True)
        try:
            yield
        finally:
            self.disk.answers.set()
            if self.is_mounted:
                subprocess.run(["fsfreeze", "--unfreeze", self.root], check=True)

    @contextmanager
    def moved(self) -> Iterator[None]:
        """The directories are somewhere else."""
        for gate in self.gates.values():
            gate.audit_directory.rename(gate.audit_directory.with_name("away"))
        try:
            yield
        finally:
            for gate in self.gates.values():
                gate.audit_directory.with_name("away").rename(gate.audit_directory)

    @contextmanager
    def earlier(self) -> Iterator[None]:
        """The clock is set back."""
        self.clock.offset = -timedelta(minutes=10)
        try:
            yield
        finally:
            self.clock.offset = timedelta(0)


FAULTS: Mapping[str, Callable[[Bed], AbstractContextManager[None]]] = {
    "the disk is full": Bed.full,
    "the disk fails": lambda bed: bed.failing(errno.EIO),
    "the disk does not answer": Bed.hanging,
    "the file system is read-only": lambda bed: bed.failing(errno.EROFS),
    "the directory is moved away": Bed.moved,
    "the clock is set back": Bed.earlier,
}


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bool]]:
    """Mount a file system of 16 MiB, where that is allowed."""
    directory = tmp_path_factory.mktemp("disk")
    image, root = directory / "image", directory / "mounted"
    root.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    commands = [["mkfs.ext4", "-q", "-b", "1024", image], ["mount", "-o", "loop", image, root]]
    are_there = all(shutil.which(name) for name in ("mkfs.ext4", "mount", "fsfreeze"))
    is_mounted = are_there and all(
        subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands
    )
    yield root, is_mounted
    if is_mounted:
        subprocess.run(["umount", "--lazy", root], check=True)
    image.unlink()


@pytest.fixture(scope="module")
def bed(  # noqa: PLR0917  fixtures
    small_disk: tuple[Path, bool],
    tmp_path_factory: pytest.TempPathFactory,
    servers_ca: Authority,
    devices_ca: Authority,
    stocked_store: Path,
    dovecot: Dovecot,
    postfix: Postfix,
) -> Iterator[Bed]:
    """Run the three gates."""
    bed = Bed(*small_disk)
    for existing in EXISTING:
        gate = GateInThread(
            tmp_path_factory.mktemp(existing),
            servers_ca,
            devices_ca,
            {
                "upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)},
                "audit": {"directory": str(bed.root / existing / "audit"), "existing": existing, "fold": "0s"},
                "server": {"drain_timeout": "2s"},
            },
            disk=bed.disk,
            clock=bed.clock,
        )
        gate.audit_directory = bed.root / existing / "audit"
        shutil.copy(stocked_store, gate.store_file)
        gate.start()
        bed.gates[existing] = gate
    yield bed
    for gate in bed.gates.values():
        gate.stop()


def test_the_table_has_a_row_for_every_fault() -> None:
    """And for no other."""
    assert set(TABLE) == set(FAULTS)
    assert [row["the tests"] for row in TABLE.values()].count("real") >= 3


def test_what_is_called_real_is_real(small_disk: tuple[Path, bool]) -> None:
    """As root; else the system calls fail instead, and this is said at the end of the run."""
    if not small_disk[1]:
        pytest.skip("a file system of its own to fill and to freeze needs root: the faults are injected")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_happens_is_what_the_table_says(bed: Bed, fault: str, context: ssl.SSLContext) -> None:
    """To new log-ins and open sessions; afterwards the log goes on by itself, with nothing missing."""
    row = TABLE[fault]
    sessions = {}
    before = {existing: len(_interruptions(gate)) for existing, gate in bed.gates.items()}
    for existing, gate in bed.gates.items():
        sessions[existing] = imap_session(gate.ports.imaps, context, ALICE)
        bed.let_in[existing] += 1
    with FAULTS[fault](bed):
        with ThreadPoolExecutor(len(EXISTING)) as pool:  # at once: each may have to lose its patience first
            list(pool.map(lambda existing: NEW[row["new log-ins"]](bed, existing, context), EXISTING))
        for existing in EXISTING:
            assert bed.gates[existing].get("/readyz").status == int(row["/readyz"])
            assert bed.gates[existing].get("/livez").status == 200
        for existing in EXISTING:
            OPEN[row[existing]](sessions[existing])
    for existing, gate in bed.gates.items():
        eventually(gate.is_ready, within=10)
        assert bed.log_in(existing, context).startswith(b"OK")
        sessions[existing].close()
    for existing in EXISTING:
        _assert_whole(bed, existing)
        if row["new log-ins"] == "temporary failure":
            _assert_told(bed.gates[existing], before[existing], existing, 0 if row[existing] == "go on" else 1)


def _interruptions(gate: GateInThread) -> list[Record]:
    return [detail(one) for one in coded(gate.audit_records(), "GK9006W")]


def _assert_told(gate: GateInThread, before: int, existing: str, ended: int) -> None:
    """That the log could not be written, and what became of the open session."""
    told = eventually(lambda: _interruptions(gate)[before:], within=10, what="the record of the interruption")
    assert {one["existing"] for one in told} == {existing}
    assert sum(one["ended_n"] for one in told) == ended


def _refused_for_now(bed: Bed, existing: str, context: ssl.SSLContext) -> None:
    # What was allocated before a disk is full may hold a few records still.
    eventually(lambda: bed.log_in(existing, context).startswith(b"NO [UNAVAILABLE]"), within=15)
    gate = bed.gates[existing]
    assert smtp_login_reply(gate.ports.submissions, context, ALICE).startswith(b"454 4.7.0")
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")
    # This log tries again every tenth of a second: the fault could be over before the gate next looks.
    eventually(lambda: gate.sees_its_outage, within=10, what="that the gate sees it")


def _let_in(bed: Bed, existing: str, context: ssl.SSLContext) -> None:
    assert bed.log_in(existing, context).startswith(b"OK")


NEW: Mapping[str, Callable[[Bed, str, ssl.SSLContext], None]] = {
    "temporary failure": _refused_for_now,
    "let in": _let_in,
}


def _goes_on(session: Wire) -> None:
    assert session.imap(b"x NOOP")[-1].startswith(b"x OK")


def _is_ended_politely(session: Wire) -> None:
    assert session.rest(within=10).startswith(b"* BYE")


def _is_cut(session: Wire) -> None:
    assert session.rest(within=10) == b""


OPEN: Mapping[str, Callable[[Wire], None]] = {
    "go on": _goes_on,
    "are ended": _is_ended_politely,
    "are cut": _is_cut,
}


def _assert_whole(bed: Bed, existing: str) -> None:
    """Everybody who was let in is on record, every connection has its end, and the log is sound."""
    gate = bed.gates[existing]

    def records() -> list[Record]:
        return gate.audit_records()

    def accepted() -> int:
        text = gate.get("/metrics").body.decode()
        return sum(int(float(line.split()[-1])) for line in text.splitlines() if line.startswith(_ACCEPTED))

    eventually(lambda: terminal_count(records()) == accepted(), within=10, what=lambda: _brief(records(), accepted()))
    told = {detail(one)["conn"] for one in coded(records(), "GK1007E")}
    allowed = {detail(one)["conn"] for one in coded(records(), "GK1001I")} - told
    assert len(allowed) == bed.let_in[existing]
    done = CliRunner().invoke(audit, ["verify", str(gate.audit_directory)])
    assert done.exit_code == 0, done.output


_ACCEPTED = "gatekeeper_connections_total{"


def _brief(records: list[Record], accepted: int) -> str:
    return f"{terminal_count(records)} ends of {accepted}: {Counter(map(code, records))}"
