"""A private rsyslogd that receives audit records over TLS, with the configuration that deploy/ ships."""

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from testkit.ports import LOOPBACK, free_port
from testkit.running import running
from testkit.tls import Authority
from testkit.waiting import eventually

PROGRAM = shutil.which("rsyslogd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
SHIPPED = Path(__file__).parents[2] / "deploy" / "rsyslog"


def has_driver(name: str) -> bool:
    """Whether rsyslog can speak TLS by that library: `ossl` or `gtls`."""
    return any(Path("/usr/lib").glob(f"*/rsyslog/lmnsd_{name}.so"))


class Rsyslog:
    """`start`, `stop` or `kill`, and `start` again; what it wrote stays until `remove`."""

    def __init__(self, configuration: str, changes: Mapping[str, str]) -> None:
        """`configuration`: a file of deploy/rsyslog; `changes`: what stands there for what stands here."""
        self.directory = Path(tempfile.mkdtemp(prefix="gk-rsyslog-"))
        self._log = self.directory / "stderr"
        self._process: subprocess.Popen[bytes] | None = None
        text = (SHIPPED / configuration).read_text()
        for old, new in {**changes, "/var/spool/rsyslog": str(self.directory)}.items():
            assert old in text, old
            text = text.replace(old, new)
        self._file = self.directory / "rsyslog.conf"
        self._file.write_text(text)

    def check(self) -> str:
        """What rsyslog finds wrong with the configuration; empty: nothing."""
        assert PROGRAM is not None
        done = subprocess.run(
            [PROGRAM, "-N1", "-f", str(self._file)], capture_output=True, text=True, timeout=20, check=False
        )
        return "" if done.returncode == 0 else done.stderr

    def start(self) -> None:
        """Run it in the foreground."""
        assert PROGRAM is not None, "rsyslog is not installed"
        pid_file = self.directory / "pid"
        pid_file.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-n", "-iNONE", "-f", str(self._file)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        running[f"rsyslog in {self.directory}"] = self

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal and wait for its end."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(20)
        running.pop(f"rsyslog in {self.directory}", None)

    def kill(self) -> None:
        """End it at once, with whatever it holds in memory."""
        self.signal(signal.SIGKILL)

    def stop(self) -> None:
        """End it, and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGTERM)
        running.pop(f"rsyslog in {self.directory}", None)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""


class Receiver(Rsyslog):
    """Of records, over TLS with certificates on both sides."""

    def __init__(self, authority: Authority, permitted: str, driver: str = "ossl") -> None:
        self.port = free_port()
        pair = authority.server_certificate("rsyslog", "localhost")
        super().__init__(
            "receiver.conf",
            {
                "/etc/gatekeeper-receiver/ca.pem": str(authority.ca_file),
                "/etc/gatekeeper-receiver/receiver.pem": str(pair.certificate),
                "/etc/gatekeeper-receiver/receiver.key": str(pair.private_key),
                'streamDriver.name="ossl"': f'streamDriver.name="{driver}"',
                "gate.example.com": permitted,
                "/var/log/gatekeeper": "REPLACED",
                'port="6514"': f'port="{self.port}" address="{LOOPBACK}"',
            },
        )
        self.received = self.directory / "received"
        self._file.write_text(self._file.read_text().replace("REPLACED", str(self.received)))

    def start(self) -> None:
        """Run it; returns once it listens."""
        super().start()
        eventually(self._listens, within=20, what=self.log)

    def received_of(self, log: str) -> Path:
        """The directory of a log."""
        return self.received / log.replace("/", "_")

    def lines(self, log: str) -> list[bytes]:
        """The records of a log that are there, in the order in which they were written."""
        path = self.received_of(log) / "records.jsonl"
        return path.read_bytes().split(b"\n")[:-1] if path.exists() else []

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0


class Forwarder(Rsyslog):
    """Of a log's files, to a `Receiver`."""

    def __init__(self, authority: Authority, name: str, receiver: Receiver, audit_directory: Path, log: str) -> None:
        pair = authority.server_certificate("rsyslog-forwarder", name)
        super().__init__(
            "forwarder.conf",
            {
                "/etc/gatekeeper/logs-ca.pem": str(authority.ca_file),
                "/etc/gatekeeper/gate.pem": str(pair.certificate),
                "/etc/gatekeeper/gate.key": str(pair.private_key),
                'log=\\"gatekeeper.example/audit/1': f'log=\\"{log}',
                "logs.example.com": "localhost",
                'port="6514"': f'port="{receiver.port}"',
                "/var/lib/gatekeeper/audit": str(audit_directory),
            },
        )
