"""A phone of the demo: its mail client (aioimaplib, smtplib, a TLS client certificate) and the agent listing apps."""

import asyncio
import base64
import smtplib
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from aioimaplib.aioimaplib import IMAP4, Response

from gatekeeper.cli.demo.phone_agent import PhoneAgent
from gatekeeper.domain.app import App
from gatekeeper.domain.secret import Secret

LOOPBACK = "127.0.0.1"
_PATIENCE_S = 10.0


@dataclass(slots=True, kw_only=True)
class Phone:
    """One person's phone."""

    account: str
    password: Secret[str]
    agent: PhoneAgent
    tls: ssl.SSLContext
    """Trusts the gate's CA, and shows the phone's certificate."""
    apps: list[App] = field(default_factory=list)

    @property
    def device_id(self) -> str:
        """The id in its certificates."""
        return self.agent.device_id

    async def open_mailbox(self, port: int) -> "Mailbox":
        """Connect to the gate's IMAP listener and read the greeting."""
        mailbox = Mailbox(port, self.tls)
        await mailbox.greeted()
        return mailbox

    async def submit(self, port: int, message: EmailMessage | None = None) -> str:
        """Log in to submission; send a message when let in. Returns the reply to AUTH."""
        return await asyncio.to_thread(self._submit, port, message)

    def _submit(self, port: int, message: EmailMessage | None) -> str:
        name, password = self.account, self.password.declassify()
        response = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        with smtplib.SMTP(LOOPBACK, port, local_hostname=f"{self.device_id}.example", timeout=_PATIENCE_S) as client:
            client.starttls(context=self.tls)
            client.ehlo()
            code, text = client.docmd("AUTH", f"PLAIN {response}")
            if code == 235 and message is not None:
                client.send_message(message)
        return f"{code} {text.decode(errors='replace')}"


class Mailbox:
    """An IMAP connection of a phone."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self._lost = asyncio.Event()
        self._client = IMAP4(LOOPBACK, port, ssl_context=tls, timeout=_PATIENCE_S, conn_lost_cb=self._on_lost)
        self._idle: asyncio.Future[Response] | None = None

    async def greeted(self) -> None:
        """Wait for the greeting."""
        await self._client.wait_hello_from_server()

    async def log_in(self, phone: Phone) -> str:
        """LOGIN; returns the tagged reply without its tag."""
        reply = await self._client.login(phone.account, phone.password.declassify())
        return f"{reply.result} {bytes(reply.lines[-1]).decode(errors='replace')}"

    async def newest(self) -> EmailMessage:
        """Read the newest message of INBOX."""
        selected = await self._client.select("INBOX")
        counts = [line.split()[0].decode() for line in selected.lines if line.endswith(b" EXISTS")]
        if not counts:
            raise OSError(f"INBOX cannot be selected: {selected.result}")
        fetched = await self._client.fetch(counts[0], "(BODY.PEEK[])")
        if fetched.result != "OK" or len(fetched.lines) < 2:
            raise OSError(f"message {counts[0]} cannot be read: {fetched.result}")
        return message_from_bytes(bytes(fetched.lines[1]), policy=policy.default)

    async def idle(self) -> None:
        """IDLE; returns when the mail server has agreed."""
        self._idle = await self._client.idle_start()

    async def lost(self, within_s: float) -> bool:
        """Wait until the connection is ended by the other side; False when it is not."""
        try:
            async with asyncio.timeout(within_s):
                await self._lost.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """LOGOUT, or let go of what is lost."""
        if self._idle is not None:
            self._client.idle_done()  # stops aioimaplib's timer
            self._idle.cancel()
        if not self._lost.is_set():
            await self._client.logout()
            await self.lost(_PATIENCE_S)

    def _on_lost(self, _error: Exception | None) -> None:
        self._lost.set()
