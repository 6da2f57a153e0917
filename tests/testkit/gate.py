"""The gate as operators run it: configuration files, a process, the command line, the admin port, the audit log."""

import gzip
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from testkit import toml
from testkit.ports import LOOPBACK, free_port
from testkit.running import running
from testkit.tls import Authority
from testkit.waiting import eventually

Record = dict[str, Any]
"""One audit record, as JSON gave it."""

TERMINAL = {"GK1101W", "GK1102I", "GK1104I"}
"""Event codes that end a connection."""
_IMPORTED = "GK4012I"

POLICY = """
schema = 1

[defaults]
unknown_device   = "block"
evidence_max_age = "24h"
stale            = { action = "warn", then = "block", after = "72h" }
insufficient     = { company = "block", personal = "warn" }

[[rule]]
id     = "no-tiktok"
title  = "TikTok is not allowed on phones that read company mail"
reason = "Security directive 2020-07"
apps   = [
  { platform = "android", id = "com.zhiliaoapp.musically" },
  { platform = "ios",     id = "com.ss.iphone.ugc.*" },
]
scope  = { device_class = ["mobile"] }
phases = { %s }
[rule.message.en]
short = "Mail is paused: {app} is on this phone."
fix   = "Remove {app}, then open {check_url} and press Check again."
"""

ENFORCED = 'enforce = "2020-07-10T17:00:00-07:00"'
NOT_YET = 'warn = "2020-07-10T09:00:00-07:00", enforce = "2999-01-01T00:00:00Z"'

# Of processes, on a machine that may be busy with many others: none of it is what a test is about.
_START_S = 60
_STOP_S = 60
_COMMAND_S = 60


def policy(phases: str = ENFORCED) -> str:
    """Return a policy that denies TikTok on mobile devices, with the given phases."""
    return POLICY % phases


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of the admin port."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the gate listens."""

    imaps: int
    imap: int
    """STARTTLS."""
    submissions: int
    submission: int
    """STARTTLS."""
    admin: int


def upstream(port: int, *, mode: str = "off", ca: Path | None = None) -> dict[str, object]:
    """Return an `[upstream.*]` table for a server on this machine; by its name when TLS is to be verified."""
    host = LOOPBACK if mode == "off" else "localhost"
    table: dict[str, object] = {"address": f"{host}:{port}", "tls": mode}
    if ca is not None:
        table["ca"] = str(ca)
    return table


class GateProcess:
    """A gate with a directory of its own; `start` it, and `stop` or `kill` it."""

    _program: ClassVar[Sequence[str]] = ("-m", "gatekeeper")
    """What Python runs to serve."""

    def __init__(
        self,
        directory: Path,
        servers: Authority,
        devices: Authority,
        changes: Mapping[str, object],
        *,
        policy_text: str | None = None,
    ) -> None:
        """Write the files; `changes` is laid over a configuration with all listeners and no upstream."""
        self.directory = directory
        self._name = f"the gate in {directory}"
        self.ports = Ports(*(free_port() for _ in range(5)))
        self.certificate = servers.server_certificate(f"gate-{self.ports.admin}")
        self.client_context = servers.client_context
        self.policy_file = directory / "policy.toml"
        self.configuration_file = directory / "gatekeeper.toml"
        self.audit_directory = directory / "audit"
        self.store_file = directory / "gatekeeper.sqlite3"
        self._stderr = directory / "gate.stderr"
        self._process: subprocess.Popen[bytes] | None = None
        self.configuration = toml.merged(self._defaults(devices), changes)
        self.write_configuration(self.configuration)
        self.policy_file.write_text(policy() if policy_text is None else policy_text)

    # The process

    def start(self, *, ready: bool = True) -> None:
        """Start `serve` and wait until it says that it is ready."""
        with self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, *self._program, "--config", str(self.configuration_file), "serve"],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                cwd=self.directory,
                env=_environment(),
            )
        running[self._name] = self
        if ready:
            eventually(self._is_ready_or_dead, within=_START_S, what=self.log)
            assert self._process.poll() is None, f"serve ended with {self._process.returncode}:\n{self.log()}"

    def stop(self) -> int:
        """Ask the gate to end (SIGTERM) and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(_STOP_S)

    def kill(self) -> None:
        """End the gate at once (SIGKILL)."""
        self.signal(signal.SIGKILL)
        self.wait(_STOP_S)

    def wait(self, within: float) -> int:
        """Return the exit code once the process has ended."""
        assert self._process is not None
        code = self._process.wait(within)
        running.pop(self._name, None)
        return code

    def discard(self) -> None:
        """End the gate whatever its state."""
        if self._process is None or self._process.poll() is not None:
            running.pop(self._name, None)
            return
        self.signal(signal.SIGTERM)
        try:
            self.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def reload(self) -> None:
        """Send SIGHUP; returns at once."""
        self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the main process."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return what the gate wrote to its standard output and error."""
        return self._stderr.read_text(errors="replace") if self._stderr.exists() else ""

    # Files

    def write_configuration(self, tables: Mapping[str, object]) -> None:
        """Replace the configuration file."""
        self.configuration_file.write_text(toml.dumps(tables))

    def replace_policy(self, text: str) -> None:
        """Replace the policy file at once, as an editor does, without a reload."""
        new = self.policy_file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.policy_file)

    # The command line

    def cli(self, *arguments: str, within: float = _COMMAND_S) -> subprocess.CompletedProcess[str]:
        """Run a `gatekeeper` command with this gate's configuration."""
        return subprocess.run(
            [*self._command(), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            cwd=self.directory,
            env=_environment(),
            check=False,
        )

    def import_inventory(self, *lines: str) -> None:
        """Import devices by the command line; fail when it does."""
        file = self.directory / "inventory.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines))
        done = self.cli("inventory", "import", str(file))
        assert done.returncode == 0, done.stdout + done.stderr

    def register(self, *lines: str) -> None:
        """Import devices, and wait until the gate, which runs, knows them.

        A log-in that such news overtake is decided, and recorded, anew.
        """

        def known() -> int:
            return len(coded(self.audit_records(), _IMPORTED))

        before = known()
        self.import_inventory(*lines)
        eventually(lambda: known() > before, within=15, what=self.log)

    # The admin port

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        """GET a path of the admin port."""
        return self._http(urllib.request.Request(self._url(path), headers=dict(headers or {})))

    def post(self, path: str, body: bytes, content_type: str) -> Response:
        """POST to the admin port."""
        headers = {"Content-Type": content_type}
        return self._http(urllib.request.Request(self._url(path), data=body, headers=headers, method="POST"))

    def is_ready(self) -> bool:
        """Whether `/readyz` says 200; a port that does not answer is not ready."""
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    # The audit log

    def audit_records(self) -> list[Record]:
        """Return every complete record on disk, in order."""
        return records_in(self.audit_directory)

    def wait_for_record(self, predicate: Callable[[Record], bool], *, within: float = 15) -> Record:
        """Return the first record that fits, waiting for it."""
        return self.wait_for_records(1, predicate, within=within)[0]

    def wait_for_records(self, count: int, predicate: Callable[[Record], bool], *, within: float = 15) -> list[Record]:
        """Return all records that fit once there are so many, or more: of several workers each writes its own log."""

        def found() -> list[Record]:
            fitting = [record for record in self.audit_records() if predicate(record)]
            return fitting if len(fitting) >= count else []

        return eventually(
            found,
            within=within,
            what=lambda: f"not {count} such among\n" + "\n".join(map(_brief, self.audit_records()[-30:])),
        )

    def _is_ready_or_dead(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            return True
        try:
            answer = self.get("/readyz")
        except OSError:
            return False
        if answer.status == 200:
            return True  # whatever else it says: that a directory of groups does not answer is no reason to wait
        # Some tests have no mail server at all; nor is that.
        return all(line.startswith(("not ready", "mail_servers")) for line in answer.body.decode().splitlines())

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "gatekeeper", "--config", str(self.configuration_file)]

    def _url(self, path: str) -> str:
        return f"http://{LOOPBACK}:{self.ports.admin}{path}"

    def _http(self, request: urllib.request.Request) -> Response:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Response(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Response(error.code, error.read())

    def _defaults(self, devices: Authority) -> dict[str, object]:
        ports = self.ports
        listeners = [
            ("imaps", "imap", ports.imaps, "implicit"),
            ("imap", "imap", ports.imap, "starttls"),
            ("submissions", "smtp", ports.submissions, "implicit"),
            ("submission", "smtp", ports.submission, "starttls"),
        ]
        return {
            "server": {"state_directory": str(self.directory / "state"), "workers": 1, "drain_timeout": "2s"},
            "tls": {
                "certificate": str(self.certificate.certificate),
                "private_key": str(self.certificate.private_key),
                "client_ca": str(devices.ca_file),
                "client_certificates": "request",
            },
            "listener": [
                {"name": name, "protocol": protocol, "bind": f"{LOOPBACK}:{port}", "tls": mode}
                for name, protocol, port, mode in listeners
            ],
            "binding": {"order": ["client_certificate", "user"]},
            "policy": {"file": str(self.policy_file)},
            "store": {"url": f"sqlite:///{self.store_file}"},
            "audit": {"directory": str(self.audit_directory), "origin": "tests.example/audit/1"},
            "admin": {"bind": f"{LOOPBACK}:{ports.admin}"},
            # Tests guess a lot, all from one address, and look at what each refusal did; the throttle's own set these.
            "throttle": {"first_delay": "0s", "remember_refusals": "0s"},
        }


def records_in(audit_directory: Path) -> list[Record]:
    """Return the complete records of an audit log, in order; those of several workers one log after the other."""
    records: list[Record] = []
    files = [path for _ in range(2) for path in audit_directory.rglob("segments/*.jsonl*") if path.suffix != ".new"]
    for segment in sorted({str(path).removesuffix(".gz") for path in files}):
        *lines, _ = _lines_in(Path(segment)).split(b"\n")
        records += map(json.loads, lines)
    return records


def _lines_in(segment: Path) -> bytes:
    """Return what is in a segment, which may have been compressed a moment ago."""
    try:
        return segment.read_bytes()
    except FileNotFoundError:
        return gzip.decompress(segment.with_name(f"{segment.name}.gz").read_bytes())


def code(record: Record) -> str:
    """Return the event code of an audit record."""
    return str(record["metadata"]["event_code"])


def detail(record: Record) -> Record:
    """Return what the gate added to the OCSF record."""
    own: Record = record["unmapped"]["gatekeeper"]
    return own


def coded(records: Iterable[Record], *codes: str) -> list[Record]:
    """Return the records with one of these event codes."""
    return [record for record in records if code(record) in codes]


def terminal_count(records: Sequence[Record]) -> int:
    """Return how many connections the terminal records stand for: folded ones carry a count."""
    return sum(int(record.get("count", 1)) for record in records if code(record) in TERMINAL)


def _brief(record: Record) -> str:
    return f"{record['metadata'].get('sequence')} {code(record)} {record.get('message')} {detail(record)}"


def _environment() -> dict[str, str]:
    """The environment without settings of another gate."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("GATEKEEPER_")}
    return own | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
