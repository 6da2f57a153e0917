"""The demo's mail server, in this process and in memory: pymap for IMAP, aiosmtpd for submission.

Inside holds: it listens on loopback only, in the clear, on ports the system picks; no name is looked up; what is
submitted to a known recipient lies in that recipient's INBOX when the client reads `250`.
"""

# ruff: noqa: N802  the names of hooks are aiosmtpd's
import asyncio
import hmac
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from proxyprotocol.reader import ProxyProtocolReader
from pymap.backend.dict import Config, DictBackend, Identity, Login
from pymap.concurrent import Subsystem
from pymap.imap import IMAPServer
from pymap.parsing.message import AppendMessage
from pymap.user import UserMetadata
from pysasl.hashing import Cleartext

from gatekeeper.domain.secret import Secret

LOOPBACK = "127.0.0.1"
_NAME = "mail.example.com"
_ANY_PORT = 0

_PYMAP_ARGUMENTS = Namespace(
    host=LOOPBACK,
    port=_ANY_PORT,
    tls=False,
    debug=False,
    demo_data=False,
    demo_user="",
    demo_password="",
    **dict.fromkeys(("cert", "key", "proxy_protocol", "passlib_cfg", "inherited_sockets")),
)
"""What pymap's own command line would have given."""


class _Config(Config):
    @property
    def greeting(self) -> bytes:
        """A fixed one: the machine's name, which pymap greets with, would be looked up in the DNS."""
        return b"Server ready " + _NAME.encode()


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where it listens, and its mailboxes."""

    imap_port: int
    submission_port: int
    mailboxes: "Mailboxes"


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """The accounts and mailboxes behind both protocols."""

    backend: DictBackend
    passwords: dict[str, Secret[str]] = field(default_factory=dict)

    async def add(self, account: str, password: Secret[str]) -> None:
        """Make an account with an empty INBOX."""
        self.passwords[account] = password
        user = UserMetadata(self.backend.config, account, password=password.declassify())
        await self._identity(account).set(user)

    async def deliver(self, account: str, message: bytes) -> None:
        """Put a message into an INBOX."""
        async with self._identity(account).new_session() as session:
            await session.append_messages("INBOX", [AppendMessage(message)])

    def _identity(self, account: str) -> Identity:
        return Identity(account, self.backend.login, None, frozenset())


class _Submission:
    """aiosmtpd's handler: mail of those who have logged in, for recipients who are known."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        self._mailboxes = mailboxes

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, credentials: LoginPassword
    ) -> AuthResult:
        """Check a password."""
        expected = self._mailboxes.passwords.get(credentials.login.decode(errors="replace"))
        found = expected is not None and hmac.compare_digest(expected.declassify().encode(), credentials.password)
        return AuthResult(success=found, handled=False)

    async def handle_MAIL(
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """MAIL FROM."""
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """RCPT TO."""
        if address not in self._mailboxes.passwords:
            return "550 5.1.1 No such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """The message itself."""
        content = envelope.content
        if not isinstance(content, bytes):
            return "554 5.6.0 No message"
        for recipient in envelope.rcpt_tos:
            await self._mailboxes.deliver(recipient, content)
        return "250 2.0.0 Delivered"


@asynccontextmanager
async def mail_server(accounts: Mapping[str, Secret[str]]) -> AsyncIterator[MailServer]:
    """Run the server with these accounts."""
    # The passwords are made for this run and kept in memory: hashing them would only slow the story down.
    config = _Config.from_args(_PYMAP_ARGUMENTS, hash_context=Cleartext(), cpu_subsystem=Subsystem.for_asyncio())
    config.apply_context()
    mailboxes = Mailboxes(DictBackend(Login(config), config))
    for account, password in accounts.items():
        await mailboxes.add(account, password)
    connected = ProxyProtocolReader(config.proxy_protocol).get_callback(IMAPServer(mailboxes.backend.login, config))
    imap = await asyncio.start_server(connected, LOOPBACK, _ANY_PORT)
    submission = await asyncio.get_running_loop().create_server(lambda: _submission(mailboxes), LOOPBACK, _ANY_PORT)
    try:
        yield MailServer(_port(imap), _port(submission), mailboxes)
    finally:
        imap.close()
        submission.close()


def _submission(mailboxes: Mailboxes) -> SMTP:
    handler = _Submission(mailboxes)
    return SMTP(
        handler,
        hostname=_NAME,
        authenticator=handler.authenticate,
        auth_require_tls=False,  # the gate is its one client, on loopback
        loop=asyncio.get_running_loop(),
    )


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
