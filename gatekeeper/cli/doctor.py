"""`gatekeeper doctor`: tests what the gate depends on, from this machine, and says what to do."""

import asyncio
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import click
from cryptography import x509

from gatekeeper.adapters.stores.engine import StoreError
from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.cli.doctor_groups import groups
from gatekeeper.cli.doctor_remotes import remotes
from gatekeeper.cli.findings import Finding, State
from gatekeeper.cli.words import EXIT_FAILED, EXIT_UPSTREAM, counted, load_settings, say_json
from gatekeeper.config.settings import CONTROL_SOCKET, Settings
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.request import MailProtocol
from gatekeeper.net.dial import TlsMode, Upstream
from gatekeeper.net.poller import Poller, PollerLoop
from gatekeeper.net.revocation import valid_until
from gatekeeper.net.tls import ServerTls
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.compose import upstreams
from gatekeeper.server.policy_source import policy_in_force
from gatekeeper.server.probe import ProbeFailed, probe

_EXPIRES_SOON = timedelta(days=21)
_LIST_EXPIRES_SOON = timedelta(days=1)
_SLOW_SYNC_S = 0.010
"""A log-in waits for one sync: above this it is felt when many log in at once."""
_SYNCS = 50


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def doctor(config_path: Path, *, as_json: bool) -> None:
    """Test ports, certificates, mail servers, directory, store, policy and disk; say what to do about what is wrong."""
    settings = load_settings(config_path)
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            click.echo(f"{finding.state.value:5} {finding.test:24} {finding.found}")
            if finding.advice:
                click.echo(f"{'':30} → {finding.advice}")

    poller = Poller()
    with asyncio.Runner(loop_factory=lambda: PollerLoop(poller)) as runner:
        runner.run(_examine(settings, poller, found))
    if as_json:
        say_json([asdict(finding) for finding in findings])
    bad = [finding for finding in findings if finding.state is State.FAIL]
    if bad:
        only_upstream = all(finding.test.startswith("mail server") for finding in bad)
        raise SystemExit(EXIT_UPSTREAM if only_upstream else EXIT_FAILED)


Found = Callable[[Finding], None]


async def _examine(settings: Settings, poller: Poller, found: Found) -> None:
    for note in settings.notes:
        found(Finding("configuration", State.WARN, note))
    for test in (_ports, _certificates, _policy, groups, _disk, remotes):
        for finding in test(settings):
            found(finding)
    for finding in [*await _store(settings), *await _mail_servers(settings, poller)]:
        found(finding)


def _ports(settings: Settings) -> list[Finding]:
    is_running = _answers(settings.state_directory / CONTROL_SOCKET)
    ports = [(listener.name, listener.host, listener.port) for listener in settings.listeners]
    ports.append(("admin", settings.admin.host, settings.admin.port))
    return [_port(f"port {name}", host, port, is_running=is_running) for name, host, port in ports]


def _answers(control: Path) -> bool:
    """Whether a gate runs here; the socket of one that was killed lies there still."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(control))
        except OSError:
            return False
    return True


def _port(test: str, host: str, port: int, *, is_running: bool) -> Finding:
    where = f"{host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except PermissionError:
            advice = "ports below 1024 need CAP_NET_BIND_SERVICE"
            return Finding(test, State.FAIL, f"{where}: not allowed", advice)
        except OSError as error:
            if is_running:
                return Finding(test, State.OK, f"{where} is in use, presumably by the running gate")
            return Finding(test, State.FAIL, f"{where}: {error.strerror}", "stop what listens there, or change `bind`")
    return Finding(test, State.OK, f"{where} is free")


def _certificates(settings: Settings) -> list[Finding]:
    if settings.tls is None:
        return [Finding("certificate", State.WARN, "no listener uses TLS")]
    findings = []
    if settings.tls.private_key.stat().st_mode & 0o007:
        advice = f"chmod 640 {settings.tls.private_key}"
        findings.append(Finding("private_key", State.WARN, "everybody on this machine can read it", advice))
    if settings.tls.client_crl is not None:
        findings.append(_revocations(settings.tls.client_crl))
    for name, path in _presented(settings, settings.tls):
        try:
            certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
        except ValueError:
            findings.append(Finding(name, State.FAIL, f"{path}: holds no certificate", "it must be PEM"))
            continue
        left = certificate.not_valid_after_utc - SystemClock().now()
        until = f"{path}: valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
        if left < timedelta(0):
            findings.append(Finding(name, State.FAIL, f"{path}: expired", "renew it, then `gatekeeper reload`"))
        elif left < _EXPIRES_SOON:
            findings.append(Finding(name, State.WARN, until, "renew it soon, then `gatekeeper reload`"))
        else:
            findings.append(Finding(name, State.OK, until))
    return findings


def _presented(settings: Settings, tls: ServerTls) -> list[tuple[str, Path]]:
    """The certificates that phones, and mail servers, are shown or judged by."""
    found = [("certificate", tls.certificate)]
    found += ((f"certificate {one.names[0]}", one.certificate) for one in tls.named)
    if tls.client_ca is not None:
        found.append(("client_ca", tls.client_ca))
    for protocol, upstream in settings.upstreams.items():
        if upstream.client_certificate is not None:
            found.append((f"upstream.{protocol} certificate", upstream.client_certificate))
    return found


def _revocations(path: Path) -> Finding:
    """The list of revoked client certificates: with an expired one every client certificate is refused."""
    until = valid_until(path)
    if until is None:
        return Finding("client_crl", State.OK, f"{path}: never expires")
    words = f"{path}: valid until {until:%Y-%m-%d %H:%M} UTC"
    left = until - SystemClock().now()
    if left < timedelta(0):
        advice = "get a new one from the CA, then `gatekeeper reload`"
        return Finding("client_crl", State.FAIL, f"{path}: expired, every client certificate is refused", advice)
    if left < _LIST_EXPIRES_SOON:
        return Finding("client_crl", State.WARN, words, "get a new one from the CA, then `gatekeeper reload`")
    return Finding("client_crl", State.OK, words)


def _policy(settings: Settings) -> list[Finding]:
    try:
        policy = policy_in_force(settings)
    except DocumentError as error:
        advice = f"see `gatekeeper policy {'check' if settings.bundles is None else 'status'}`"
        return [Finding("policy", State.FAIL, f"{len(error.faults)} faults, first: {error.faults[0]}", advice)]
    return [Finding("policy", State.OK, f"{policy.source}: {counted(len(policy.rules), 'rule')}")]


def _disk(settings: Settings) -> list[Finding]:
    """How long one durable write takes where the audit log lies."""
    directory = settings.audit.directory
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        times = _sync_times(directory)
    except OSError as error:
        advice = "give the service's user a writable audit directory: without it nobody is let in"
        return [Finding("audit disk", State.FAIL, f"{directory}: {error.strerror}", advice)]
    median, slowest = times[len(times) // 2], times[-1]
    words = f"one sync takes {median * 1e3:.2f} ms (median of {_SYNCS}; slowest {slowest * 1e3:.1f} ms)"
    if median > _SLOW_SYNC_S:
        return [Finding("audit disk", State.WARN, words, "every log-in waits for one: use a faster disk")]
    return [Finding("audit disk", State.OK, words)]


def _sync_times(directory: Path) -> list[float]:
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(_SYNCS):
            start = time.perf_counter()
            os.write(file.fileno(), b"x" * 1024)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return sorted(times)


async def _store(settings: Settings) -> list[Finding]:
    try:
        async with open_store(settings.store_url):
            return [Finding("store", State.OK, "opens, schema up to date")]
    except StoreError as error:
        return [Finding("store", State.FAIL, str(error), "check `store.url` and who may write there")]


async def _mail_servers(settings: Settings, poller: Poller) -> list[Finding]:
    try:
        servers = upstreams(settings)
    except (OSError, ssl.SSLError) as error:
        return [Finding("mail server", State.FAIL, str(error), "check `upstream.*.address` and `ca`")]
    findings = []
    for protocol, pool in servers.items():
        test = f"mail server {protocol}"
        findings += [Finding(test, State.FAIL, fault, "check `address`, or DNS") for fault in pool.unresolved]
        for upstream in pool.health():
            findings += await _mail_server(test, protocol, upstream, poller)
    return findings


async def _mail_server(test: str, protocol: MailProtocol, upstream: Upstream, poller: Poller) -> list[Finding]:
    """One address, asked as the gate would."""
    named = f"{upstream.host}:{upstream.port}"
    where = upstream.place if upstream.host in upstream.place else f"{named} ({upstream.address})"
    started = time.perf_counter()
    try:
        offers = await probe(upstream, protocol, poller)
    except ProbeFailed as error:
        return [Finding(test, State.FAIL, f"{where}: {error}", _advice(str(error)))]
    took_s = time.perf_counter() - started
    findings = [_offered(test, where, protocol, offers, took_s)]
    findings += _ways_around(test, where, protocol, upstream, offers)
    if upstream.tls is TlsMode.OFF:
        findings.append(Finding(test, State.OK, f"{where}: plain, on loopback"))
    return findings


def _advice(fault: str) -> str:
    if "UNAUTHENTICATE" in fault:  # the log-in client itself turns such a server down
        return "switch it off there: after it a second log-in would pass unseen"
    return "is it running, and do `address`, `tls` and `ca` fit it?"


def _offered(test: str, where: str, protocol: MailProtocol, offers: frozenset[str], took_s: float) -> Finding:
    mechanisms = sorted(name.removeprefix("AUTH=") for name in offers if name.startswith("AUTH="))
    commands = {  # that take a password without SASL
        MailProtocol.IMAP: "" if "LOGINDISABLED" in offers else "LOGIN",
        MailProtocol.POP3: "USER" if "USER" in offers else "",
    }
    ways = ", ".join(mechanisms) or commands.get(protocol, "")
    words = f"{where}: answers in {took_s * 1e3:.0f} ms, takes {ways}"
    if not ways:
        advice = "it takes no credentials from here: enable PLAIN, or TLS towards it"
        return Finding(test, State.FAIL, f"{where}: offers no log-in", advice)
    return Finding(test, State.OK, words)


def _ways_around(
    test: str, where: str, protocol: MailProtocol, upstream: Upstream, offers: frozenset[str]
) -> list[Finding]:
    """What would let a phone that is logged in become somebody else, unseen; such a server is not used."""
    findings: list[Finding] = []
    if protocol is not MailProtocol.SMTP:
        return findings
    if "STARTTLS" in offers and upstream.tls is TlsMode.OFF:
        advice = 'set tls = "starttls", or switch STARTTLS off on that port: after it a second log-in would pass unseen'
        findings.append(Finding(test, State.FAIL, f"{where}: offers STARTTLS, which is not used", advice))
    if any(name.split()[0] == "XCLIENT" for name in offers) and upstream.client_address != "xclient":
        advice = 'set client_address = "xclient", or take this machine out of smtpd_authorized_xclient_hosts'
        findings.append(Finding(test, State.FAIL, f"{where}: offers XCLIENT, which is not used", advice))
    return findings
