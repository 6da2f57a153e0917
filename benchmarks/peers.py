"""The peers that are compared, and the mail server behind them: started on free loopback ports, stopped whatever happens.

Every peer serves TLS with the same ECDSA P-256 certificate towards the phone and speaks plain IMAP on loopback to one and
the same upstream. A peer that is not installed, or does not start, raises `PeerMissing` with the reason; the others run.
All of a peer's processes descend from the ones it started here, so `Running.roots` is all that the meter needs.
"""

import contextlib
import getpass
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.load import Target
from benchmarks.processes import PeerMissing, processes, tail, wait_for_log_in, wait_for_port

HERE = Path(__file__).parent
USER = "bench@example.com"
PASSWORD = "correct-horse"
_DEFAULTS = """schema = 1

[defaults]
unknown_device = "block"
evidence_max_age = "24h"
stale = { action = "warn", then = "block", after = "72h" }
insufficient = { company = "block", personal = "warn" }
"""
_RULE = """
[[rule]]
id = "denied-NUMBER"
title = "Denied app NUMBER"
reason = "benchmark"
apps = [
  { platform = "android", id = "com.denied.appNUMBER" },
  { platform = "android", id = "com.denied.familyNUMBER.*" },
  { platform = "ios", id = "com.denied.appNUMBER" },
]
scope = { device_class = ["mobile"] }
phases = { warn = "2020-07-10T09:00:00-07:00", enforce = "2020-07-10T17:00:00-07:00" }
[rule.message.en]
short = "Mail is paused: a denied app is on this phone."
fix = "Remove it."
"""
SESSIONS = 10_000
"""What each peer is configured to hold; twice as many descriptors, as far as the system allows."""


@dataclass(frozen=True, slots=True)
class Site:
    """What all peers share."""

    directory: Path
    certificate: Path
    private_key: Path
    upstream_port: int
    peer_cpus: frozenset[int]
    """Where peers run (empty: anywhere). The load and the upstream have the other processors."""

    def target(self, port: int) -> Target:
        return Target(port, str(self.certificate), USER, PASSWORD)


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that serves."""

    target: Target
    roots: tuple[int, ...]


class Peer(Protocol):
    """One competitor."""

    @property
    def name(self) -> str:
        """The column's heading."""

    def version(self) -> str:
        """What is installed; raises PeerMissing when nothing is."""

    def commands(self, site: Site, directory: Path, port: int) -> Sequence[Sequence[str]]:
        """Write the configuration into `directory`; the commands that run it in the foreground, in order."""


def make_site(directory: Path, upstream_port: int, peer_cpus: frozenset[int]) -> Site:
    """Certificate and key of this run, below `directory`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    site = Site(directory, directory / "server.pem", directory / "server.key", upstream_port, peer_cpus)
    site.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    site.private_key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    site.private_key.chmod(0o600)
    return site


@contextlib.contextmanager
def upstream(port: int, directory: Path, cpus: frozenset[int]) -> Iterator[int]:
    """The one mail server of the run; its process id."""
    command = [sys.executable, str(HERE / "upstream.py"), str(port), USER, PASSWORD]
    with processes([command], directory / "upstream.log", cpus) as started:
        wait_for_port(port, started, directory / "upstream.log")
        yield started[0].pid


@contextlib.contextmanager
def running(peer: Peer, site: Site) -> Iterator[Running]:
    """A fresh instance of the peer, proven by a log-in; raises PeerMissing when that does not come about."""
    peer.version()
    directory = site.directory / peer.name.replace(" ", "-")
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)  # unprivileged workers must reach their sockets
    log = directory / "output.log"
    port = free_port()
    commands = peer.commands(site, directory, port)
    with processes(commands, log, site.peer_cpus) as started:
        wait_for_port(port, started, log)
        target = site.target(port)
        wait_for_log_in(target, started, log)
        yield Running(target, tuple(process.pid for process in started))


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- the peers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Nginx:
    """nginx's mail proxy: one worker, its defaults but for the number of connections; asks auth_http.py on each log-in."""

    name: str
    proxy_buffer: str = ""

    def version(self) -> str:
        return _first_line([_program("nginx", "/usr/sbin/nginx"), "-v"])

    def commands(self, site: Site, directory: Path, port: int) -> Sequence[Sequence[str]]:
        auth_port = free_port()
        module = Path("/usr/lib/nginx/modules/ngx_mail_module.so")
        lines = [
            f"load_module {module};" if module.exists() else "",
            "daemon off; worker_processes 1;",
            f"pid {directory}/nginx.pid; error_log {directory}/error.log;",
            f"worker_rlimit_nofile {_descriptors()};",
            f"events {{ worker_connections {_descriptors()}; }}",
            "mail {",
            f"  auth_http 127.0.0.1:{auth_port}/;",
            f"  ssl_certificate {site.certificate}; ssl_certificate_key {site.private_key};",
            "  ssl_protocols TLSv1.3;",
            f"  proxy_buffer {self.proxy_buffer};" if self.proxy_buffer else "",
            # Its default backlog of 511 would turn a thousand connections at once into a test of SYN retransmission.
            f"  server {{ listen 127.0.0.1:{port} ssl backlog=4096; protocol imap; }}",
            "}",
        ]
        path = directory / "nginx.conf"
        path.write_text("\n".join(filter(None, lines)) + "\n")
        return [
            [sys.executable, str(HERE / "auth_http.py"), str(auth_port), str(site.upstream_port), USER, PASSWORD],
            [
                _program("nginx", "/usr/sbin/nginx"),
                "-e",
                f"{directory}/error.log",
                "-p",
                str(directory),
                "-c",
                str(path),
            ],
        ]


@dataclass(frozen=True, slots=True)
class Dovecot:
    """Dovecot's log-in proxy: one imap-login process in high-performance mode, every user proxied to the upstream."""

    name: str = "Dovecot"

    def version(self) -> str:
        return _first_line([_program("dovecot", "/usr/sbin/dovecot"), "--version"])

    def commands(self, site: Site, directory: Path, port: int) -> Sequence[Sequence[str]]:
        is_root = os.geteuid() == 0
        me = getpass.getuser()
        users = "" if is_root else f"default_login_user = {me}\ndefault_internal_user = {me}\n"
        chroot = "" if is_root else "chroot ="
        path = directory / "dovecot.conf"
        path.write_text(f"""
protocols = imap
listen = 127.0.0.1
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
{users}
ssl = required
ssl_cert = <{site.certificate}
ssl_key = <{site.private_key}
ssl_min_protocol = TLSv1.3
auth_mechanisms = plain login
default_vsz_limit = 4G
default_client_limit = {SESSIONS}
passdb {{
  driver = static
  args = proxy=y host=127.0.0.1 port={site.upstream_port} nopassword=y
}}
service imap-login {{
  {chroot}
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
  service_count = 0
  process_min_avail = 1
  process_limit = 1
  client_limit = {SESSIONS}
}}
service anvil {{
  {chroot}
  client_limit = {SESSIONS}
}}
service auth {{
  client_limit = {SESSIONS}
}}
""")
        return [[_program("dovecot", "/usr/sbin/dovecot"), "-F", "-c", str(path)]]


@dataclass(frozen=True, slots=True)
class Gatekeeper:
    """The gate, one worker: policy with 20 rules, the user's phone registered with 300 clean apps, audit on."""

    name: str = "gatekeeper"

    def version(self) -> str:
        return _first_line([self._program(), "--version"])

    def commands(self, site: Site, directory: Path, port: int) -> Sequence[Sequence[str]]:
        config = directory / "gatekeeper.toml"
        policy = directory / "policy.toml"
        config.write_text(_gatekeeper_config(site, directory, port))
        policy.write_text(_gatekeeper_policy())
        inventory = directory / "inventory.jsonl"
        if not inventory.exists():
            (directory / "var").mkdir(exist_ok=True)
            inventory.write_text(json.dumps(clean_phone()) + "\n")
            self._import(config, inventory)
        return [[self._program(), "--config", str(config), "serve"]]

    def _import(self, config: Path, inventory: Path) -> None:
        command = [self._program(), "--config", str(config), "inventory", "import", str(inventory)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            inventory.unlink()
            raise PeerMissing("`inventory import` took more than 60 s") from None
        if done.returncode:
            inventory.unlink()
            raise PeerMissing(f"`inventory import` failed: {tail(done.stderr or done.stdout)}")

    def _program(self) -> str:
        return _program("gatekeeper", str(Path(sys.executable).parent / "gatekeeper"))


def all_peers() -> list[Peer]:
    """In the order of the table's columns."""
    return [Gatekeeper(), Nginx("nginx"), Nginx("nginx 64k", proxy_buffer="64k"), Dovecot()]


def _gatekeeper_config(site: Site, directory: Path, port: int) -> str:
    return f"""
[server]
state_directory = "{directory}/var"
workers = 1

[tls]
certificate = "{site.certificate}"
private_key = "{site.private_key}"
client_certificates = "off"

[[listener]]
name = "imaps"
protocol = "imap"
bind = "127.0.0.1:{port}"
tls = "implicit"

[upstream.imap]
address = "127.0.0.1:{site.upstream_port}"
tls = "off"
client_address = "id"

[binding]
order = ["user"]

[policy]
file = "{directory}/policy.toml"

[store]
url = "sqlite:///{directory}/var/gatekeeper.sqlite3"

[audit]
directory = "{directory}/var/audit"
origin = "bench.example/audit/1"
signing_key = "{directory}/var/audit/signing.key"

[admin]
bind = "127.0.0.1:{free_port()}"
"""


def _gatekeeper_policy() -> str:
    rules = "".join(_RULE.replace("NUMBER", str(number)) for number in range(20))
    return _DEFAULTS + rules


def clean_phone() -> dict[str, object]:
    apps = [{"id": f"com.example.app{n}", "name": f"App {n}", "version": f"1.{n}.0"} for n in range(300)]
    return {
        "device_id": "bench-phone",
        "user": USER,
        "platform": "android",
        "device_class": "mobile",
        "ownership": "company",
        "source": "mdm",
        "scope": "full",
        "complete": True,
        "collected_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "apps": apps,
    }


# -- programs -----------------------------------------------------------------------------------------------------------


def _program(name: str, usual: str) -> str:
    found = usual if os.access(usual, os.X_OK) else shutil.which(name)
    if not found:
        raise PeerMissing("not installed")
    return found


def _first_line(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise PeerMissing(f"`{' '.join(command)}`: {problem}") from None
    output = (done.stdout + done.stderr).strip()
    if done.returncode:
        raise PeerMissing(f"`{' '.join(command)}` failed: {tail(output)}")
    return output.splitlines()[0] if output else "unknown"


def _descriptors() -> int:
    """How many a worker may open: two for each session, within the hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(2 * SESSIONS, hard)
