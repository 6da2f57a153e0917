"""The demo's story, a function a step: what is done, and what must come of it.

Inside holds: every step waits until its records are in the audit log, so that each record belongs to one step.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from secrets import token_urlsafe
from time import monotonic

from gatekeeper.audit.event import EventCode
from gatekeeper.cli.demo.gate import AUDIENCE, Gate, running_gate
from gatekeeper.cli.demo.mail_server import LOOPBACK, MailServer, mail_server
from gatekeeper.cli.demo.phone_agent import CertificateAuthority, Identity, PhoneAgent
from gatekeeper.cli.demo.phones import Phone
from gatekeeper.cli.demo.teller import Teller
from gatekeeper.domain.app import App
from gatekeeper.domain.device import Platform
from gatekeeper.domain.secret import Secret
from gatekeeper.server.clock import SystemClock

RESTORED_WITHIN_S = 1.0
CUT_WITHIN_S = 2.0
_STORY_S = 60.0
_ALL_RECORDS = "10000"

_SIGNER = "ab" * 32
_NOTES = App(id="com.example.notes", name="Notes", version="1.2", signer_sha256=(_SIGNER,))
_CHAT = App(id="com.example.chat", name="Chat", version="7.0.1", signer_sha256=(_SIGNER,))
_TIKTOK = App(id="com.zhiliaoapp.musically", name="TikTok", version="16.6.5", version_code=2021606050)

Step = Callable[["Stage"], Awaitable[tuple[EventCode, ...]]]
"""Plays a step; returns the records that it must leave."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A step that is over, with the number of its last record."""

    title: str
    last_record: int


@dataclass(slots=True)
class Stage:
    """Everybody who plays."""

    teller: Teller
    directory: Path
    gate: Gate
    alice: Phone
    bob: Phone
    chapters: list[Chapter] = field(default_factory=list)

    async def play(self, title: str, step: Step) -> None:
        """Play a step, and wait for the records that it must leave."""
        self.teller.chapter(title)
        codes = await step(self)
        if not await self.gate.recorded(codes, after=self.chapters[-1].last_record):
            self.teller.expect(f"the audit log has {', '.join(codes)}", held=False)
        self.chapters.append(Chapter(title, self.gate.records()[-1].sequence))


async def tell(teller: Teller, directory: Path) -> None:
    """Play the whole story; what did not hold stands in `teller.failures`."""
    teller.title("Gatekeeper: a phone with a denied app is refused its mail, a clean one notices nothing.")
    since = monotonic()
    async with asyncio.timeout(_STORY_S):
        alice, bob = _phones(directory, SystemClock().now())
        async with mail_server({phone.account: phone.password for phone in (alice, bob)}) as server:
            for phone in (alice, bob):
                await server.mailboxes.deliver(phone.account, _welcome(phone).as_bytes())
            async with running_gate(directory, server) as gate:
                stage = Stage(teller, directory, gate, alice, bob)
                await _play(stage, server, since)
    teller.facts["seconds"] = round(monotonic() - since, 3)


async def _play(stage: Stage, server: MailServer, since: float) -> None:
    _set_the_stage(stage, server, monotonic() - since)
    stage.chapters.append(Chapter("The gate starts.", stage.gate.records()[-1].sequence))
    await stage.play("Both phones are registered.", _register)
    await stage.play("Alice's phone is clean: her mail works.", _alice_works)
    await stage.play("Bob's phone has TikTok: refused, and told why.", _bob_is_refused)
    await stage.play("Bob removes TikTok: signed evidence arrives, his mail works.", _bob_is_clean_again)
    await stage.play("TikTok comes back while Bob's mailbox is open: the session is cut.", _bob_is_cut)
    await _show_the_records(stage)


def _set_the_stage(stage: Stage, server: MailServer, seconds: float) -> None:
    gate = stage.gate
    stage.teller.notes(
        [
            f"mail server  IMAP {LOOPBACK}:{server.imap_port} (pymap), submission :{server.submission_port} (aiosmtpd)",
            f"gate         IMAP :{gate.imap_port} (TLS), submission :{gate.submission_port} (STARTTLS)",
            f"admin port   :{gate.admin_port}, where the phones' agents send evidence",
            f"files        {stage.directory}",
            f"ready in     {seconds * 1000:.0f} ms",
        ]
    )


async def _register(stage: Stage) -> tuple[EventCode, ...]:
    """An MDM server's export, imported while the gate runs."""
    export = stage.directory / "phones.jsonl"
    export.write_text("".join(_inventory_line(phone, SystemClock().now()) for phone in (stage.alice, stage.bob)))
    since = monotonic()
    done = await stage.gate.command("inventory", "import", export.name)
    text = f"gatekeeper inventory import {(done.out or done.err).strip()}"
    stage.teller.expect(text, held=done.code == 0, seconds=monotonic() - since)
    return (EventCode.INVENTORY_IMPORTED,)


async def _alice_works(stage: Stage) -> tuple[EventCode, ...]:
    teller, alice, bob = stage.teller, stage.alice, stage.bob
    since = monotonic()
    mailbox = await alice.open_mailbox(stage.gate.imap_port)
    reply = await mailbox.log_in(alice)
    teller.expect("IMAP: logged in (TLS, client certificate)", held=_is_ok(reply), seconds=monotonic() - since)
    since = monotonic()
    subject = (await mailbox.newest())["Subject"]
    teller.expect(f"IMAP: reads `{subject}`", held=subject == _welcome(alice)["Subject"], seconds=monotonic() - since)
    await mailbox.close()
    since = monotonic()
    reply = await alice.submit(stage.gate.submission_port, _lunch(alice, bob))
    text = "SMTP: logged in (STARTTLS, client certificate), sends a message to Bob"
    teller.expect(text, held=reply.startswith("235 "), seconds=monotonic() - since)
    return (EventCode.SESSION_ALLOWED, EventCode.SESSION_ENDED) * 2


async def _bob_is_refused(stage: Stage) -> tuple[EventCode, ...]:
    teller, gate, bob = stage.teller, stage.gate, stage.bob
    since = monotonic()
    mailbox = await bob.open_mailbox(gate.imap_port)
    imap = await mailbox.log_in(bob)
    took = monotonic() - since
    await mailbox.close()
    teller.expect("IMAP: refused with the reason", held=imap.startswith("NO ") and "TikTok" in imap, seconds=took)
    teller.note(f"       {imap}")
    since = monotonic()
    smtp = await bob.submit(gate.submission_port)
    took = monotonic() - since
    text = "SMTP: refused with the reason"
    teller.expect(text, held=smtp.startswith("535 5.7.1 ") and "TikTok" in smtp, seconds=took)
    teller.note(f"       {smtp}")
    teller.facts["replies"] = {"imap": imap, "smtp": smtp}
    return (EventCode.BLOCKED_APP, EventCode.CONNECTION_CLOSED) * 2


async def _bob_is_clean_again(stage: Stage) -> tuple[EventCode, ...]:
    teller, gate, bob = stage.teller, stage.gate, stage.bob
    bob.apps.remove(_TIKTOK)
    await _report(stage, bob, expected="clean")
    accepted = monotonic()
    mailbox = await bob.open_mailbox(gate.imap_port)
    reply = await mailbox.log_in(bob)
    restored = monotonic() - accepted
    held = _is_ok(reply) and restored < RESTORED_WITHIN_S
    teller.expect(f"IMAP: logged in within {RESTORED_WITHIN_S:g} s of that", held=held, seconds=restored)
    teller.facts["restored_s"] = round(restored, 4)
    subject = (await mailbox.newest())["Subject"]
    lunch = _lunch(stage.alice, bob)["Subject"]
    teller.expect(f"IMAP: reads `{subject}`, which Alice sent", held=subject == lunch)
    await mailbox.close()
    since = monotonic()
    reply = await bob.submit(gate.submission_port)
    teller.expect("SMTP: logged in", held=reply.startswith("235 "), seconds=monotonic() - since)
    sessions = (EventCode.SESSION_ALLOWED, EventCode.SESSION_ENDED) * 2
    return (EventCode.EVIDENCE_ACCEPTED, EventCode.DEVICE_CLEAN, *sessions)


async def _bob_is_cut(stage: Stage) -> tuple[EventCode, ...]:
    teller, gate, bob = stage.teller, stage.gate, stage.bob
    mailbox = await bob.open_mailbox(gate.imap_port)
    reply = await mailbox.log_in(bob)
    await mailbox.newest()
    await mailbox.idle()
    teller.expect("IMAP: logged in, and waits for new mail (IDLE)", held=_is_ok(reply))
    bob.apps.append(_TIKTOK)
    since = monotonic()
    await _report(stage, bob, expected="denied")
    is_lost = await mailbox.lost(CUT_WITHIN_S)
    cut = monotonic() - since
    await mailbox.close()
    text = f"IMAP: the open session is cut within {CUT_WITHIN_S:g} s, counted from sending the evidence"
    teller.expect(text, held=is_lost and cut < CUT_WITHIN_S, seconds=cut)
    teller.facts["cut_s"] = round(cut, 4)
    mailbox = await bob.open_mailbox(gate.imap_port)
    reply = await mailbox.log_in(bob)
    await mailbox.close()
    teller.expect("IMAP: it may not simply come back", held=reply.startswith("NO "))
    session = (EventCode.SESSION_ALLOWED, EventCode.SESSION_REVOKED)
    evidence = (EventCode.EVIDENCE_ACCEPTED, EventCode.DEVICE_DENIED)
    return (*session, *evidence, EventCode.BLOCKED_APP, EventCode.CONNECTION_CLOSED)


async def _show_the_records(stage: Stage) -> None:
    """What an auditor reads: every record by its step, and whether the log is whole."""
    teller, gate = stage.teller, stage.gate
    teller.chapter("Every step is in the audit log.")
    code = await gate.stop()
    teller.expect("the gate has drained and ended (SIGTERM)", held=code == 0)
    numbers = [record.sequence for record in gate.records()]  # before the log has who looked into it
    tail = (await gate.command("audit", "tail", "--lines", _ALL_RECORDS)).out.splitlines()
    teller.expect(f"gatekeeper audit tail: {len(tail)} records", held=len(tail) == len(numbers))
    shown = list(zip(numbers, tail, strict=False))
    first = -1
    for chapter in (*stage.chapters, Chapter("The gate ends.", numbers[-1])):
        teller.note("")
        teller.note(chapter.title)
        teller.notes(f"  {line}" for number, line in shown if first < number <= chapter.last_record)
        first = chapter.last_record
    teller.note("")
    since = monotonic()
    verified = await gate.command("audit", "verify")
    is_sound = verified.code == 0
    text = "gatekeeper audit verify: nothing was changed, dropped or cut off"
    teller.expect(text, held=is_sound, seconds=monotonic() - since)
    teller.notes(f"  {line}" for line in (verified.out + verified.err).splitlines())
    teller.facts["audit"] = {"records": len(numbers), "is_sound": is_sound}


async def _report(stage: Stage, phone: Phone, *, expected: str) -> None:
    """The phone's agent: ask for a nonce, sign the list of apps, post it."""
    nonce = await stage.gate.challenge(phone.device_id)
    token = phone.agent.evidence(phone.apps, nonce=nonce, audience=AUDIENCE, now=SystemClock().now())
    since = monotonic()
    status, answer = await stage.gate.evidence(token)
    posture = answer.get("posture", answer.get("error"))
    text = f"POST /v1/evidence: {status}, the phone is {posture}"
    stage.teller.expect(text, held=(status, posture) == (200, expected), seconds=monotonic() - since)


def _phones(directory: Path, now: datetime) -> tuple[Phone, Phone]:
    """Make the CAs and certificates, the gate's into `directory/certs`; returns Alice's and Bob's phones."""
    servers, devices, attesters = (
        CertificateAuthority.create(f"Demo {what} CA", now=now) for what in ("server", "device", "attestation")
    )
    certs = directory / "certs"
    certs.mkdir()
    server_ca = _write(certs / "server-ca.pem", servers.certificate_pem)
    _write(certs / "device-ca.pem", devices.certificate_pem)
    _write(certs / "attestation-ca.pem", attesters.certificate_pem)
    _write_identity(certs / "server", servers.server([LOOPBACK], now=now))

    def phone(person: str, device_id: str, *apps: App) -> Phone:
        tls = ssl.create_default_context(cafile=server_ca)
        tls.load_cert_chain(*_write_identity(certs / device_id, devices.device(device_id, now=now)))
        account = f"{person}@example.com"
        identity = attesters.attester(device_id, now=now)
        agent = PhoneAgent(device_id=device_id, platform=Platform.ANDROID, identity=identity, account=account)
        return Phone(account=account, password=Secret(token_urlsafe(12)), agent=agent, tls=tls, apps=list(apps))

    return phone("alice", "ph-001", _NOTES, _CHAT), phone("bob", "ph-002", _NOTES, _TIKTOK)


def _write(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def _write_identity(stem: Path, identity: Identity) -> tuple[Path, Path]:
    return (
        _write(stem.with_suffix(".pem"), identity.chain_pem()),
        _write(stem.with_suffix(".key"), identity.private_key_pem()),
    )


def _inventory_line(phone: Phone, now: datetime) -> str:
    """One device of an MDM server's export, made an hour ago."""
    line = {
        "device_id": phone.device_id,
        "user": phone.account,
        "platform": "android",
        "device_class": "mobile",
        "ownership": "company",
        "source": "mdm",
        "scope": "full",
        "complete": True,
        "collected_at": (now - timedelta(hours=1)).isoformat(),
        "apps": [{"id": app.id, "name": app.name, "version": app.version} for app in phone.apps],
    }
    return json.dumps(line) + "\n"


def _welcome(phone: Phone) -> EmailMessage:
    return _message("it@example.com", phone.account, "Welcome to your mailbox", "It works.")


def _lunch(sender: Phone, to: Phone) -> EmailMessage:
    return _message(sender.account, to.account, "Lunch on Friday?", "At noon, as always.")


def _message(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message.set_content(text)
    return message


def _is_ok(reply: str) -> bool:
    return reply.startswith("OK")
