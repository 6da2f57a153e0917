"""A private haproxy: TCP load balancer in front of a gate, with every kind of PROXY header; own directory and ports.

Every port leads to one of the gate's listeners. What it logs stands in one file.
"""

import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from testkit.ports import LOOPBACK, free_port
from testkit.running import running
from testkit.tls import KeyPair
from testkit.waiting import eventually

PROGRAM = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

_GLOBAL = """
global
  log {log} format raw local0
  stats socket {directory}/stats
defaults
  mode tcp
  log global
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout check 5s
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A port of haproxy's that leads to a port of the gate."""

    to: int
    options: str
    """Of haproxy's `server`: which header it sends."""
    bind: str = ""
    """Of its `bind`."""
    host: str = LOOPBACK


class Haproxy:
    """A running haproxy; `stop` ends it and removes its files."""

    def __init__(self, lines: dict[str, Line], pair: KeyPair, clients_ca: Path) -> None:
        """Start; `{certificate}` and `{ca}` in a line's `bind` stand for the TLS files."""
        assert PROGRAM is not None, "haproxy is not installed"
        self._directory = Path(tempfile.mkdtemp(prefix="gk-haproxy-"))
        self.ports = {name: free_port() for name in lines}
        certificate = self._directory / "server.pem"
        certificate.write_bytes(pair.certificate.read_bytes() + pair.private_key.read_bytes())
        self._log = self._directory / "haproxy.log"
        text = _GLOBAL.format(log="stdout", directory=self._directory)
        for name, line in lines.items():
            host = f"[{line.host}]" if ":" in line.host else line.host
            bind = line.bind.format(certificate=certificate, ca=clients_ca)
            text += f"listen {name}\n  bind {host}:{self.ports[name]} {bind}\n"
            text += f"  server gate {LOOPBACK}:{line.to} {line.options}\n"
        configuration = self._directory / "haproxy.cfg"
        configuration.write_text(text)
        running["haproxy"] = self
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-db", "-f", str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually((self._directory / "stats").exists, within=30, what=self.log)  # made with the ports

    def log(self) -> str:
        """Return what haproxy logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stop(self) -> None:
        """End it."""
        running.pop("haproxy", None)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._directory, ignore_errors=True)
