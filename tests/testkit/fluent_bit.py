"""A private Fluent Bit that sends a log's files to a collector, with the configuration that deploy/ ships."""

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from testkit.running import running
from testkit.tls import Authority

PROGRAM = shutil.which("fluent-bit") or shutil.which("fluent-bit", path="/opt/fluent-bit/bin")
"""In no release of Debian: its own packages put it into /opt."""
SHIPPED = Path(__file__).parents[2] / "deploy" / "fluent-bit" / "forwarder.yml"


class FluentBit:
    """`start`, `kill` and `start` again; what it had read, and what it had not sent yet, stays until `stop`."""

    def __init__(self, authority: Authority, audit_directory: Path, port: int) -> None:
        """`port`: of a collector on this machine whose certificate is of `authority`."""
        self.directory = Path(tempfile.mkdtemp(prefix="gk-fluent-bit-"))
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        pair = authority.server_certificate("fluent-bit", "gate.example.com")
        text = SHIPPED.read_text()
        for old, new in {
            "/var/lib/gatekeeper/audit": str(audit_directory),
            "/var/lib/fluent-bit/gatekeeper": str(self.directory / "kept"),
            "/etc/fluent-bit/logs-ca.pem": str(authority.ca_file),
            "/etc/fluent-bit/gate.pem": str(pair.certificate),
            "/etc/fluent-bit/gate.key": str(pair.private_key),
            "logs.example.com": "localhost",
            "port: 8443": f"port: {port}",
            "scheduler.cap: 30": "scheduler.cap: 1",
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        (self.directory / "kept").mkdir()
        self._file = self.directory / "fluent-bit.yml"
        self._file.write_text(text)

    def start(self) -> None:
        """Run it in the foreground."""
        assert PROGRAM is not None, "Fluent Bit is not installed"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-c", str(self._file)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        running[f"fluent-bit in {self.directory}"] = self

    def kill(self) -> None:
        """End it at once, with whatever it holds in memory."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it, and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(20)
        running.pop(f"fluent-bit in {self.directory}", None)
