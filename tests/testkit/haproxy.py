"""A private haproxy: TCP load balancer in front of a gate, with every kind of PROXY header; own directory and ports.

Every port leads to one of the gate's listeners. What it logs stands in one file.
"""

import shutil
import signal
import socket
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
  stats socket {directory}/stats level admin
defaults
  mode tcp
  log global
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout check 5s
"""

_UNDER_WAY = 1
"""In haproxy's `srv_check_state`."""


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
        self._stats = self._directory / "stats"
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
        eventually(self._stats.exists, within=30, what=self.log)  # made with the ports

    def log(self) -> str:
        """Return what haproxy logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stop_checking(self) -> None:
        """Begin no more checks of the gate; returns when those under way are over."""
        for name in self.ports:
            self._told(f"disable health {name}/gate")
        eventually(lambda: not self._is_checking(), within=30, what=lambda: self._told("show servers state"))

    def _is_checking(self) -> bool:
        _version, names, *rows = self._told("show servers state").strip().split("\n")
        state = names.removeprefix("# ").split().index("srv_check_state")
        return any(int(row.split()[state]) & _UNDER_WAY for row in rows)

    def _told(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as asked, asked.makefile("rw") as stream:
            asked.connect(str(self._stats))
            stream.write(f"{command}\n")
            stream.flush()
            return stream.read()

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
