"""A phone's SMTP dialogue before admission: feeds lines to aiosmtpd (`front`) and carries out what it asks for."""

import asyncio
import logging
from typing import assert_never

from gatekeeper.enforcement.flow.dialogue import DialogueLimits, Farewell, NewDialogue, Peer, UpstreamLogin
from gatekeeper.enforcement.smtp import replies
from gatekeeper.enforcement.smtp.front import Dialogued, Given, Submission, Verdict, Want, Wants
from gatekeeper.protocols.lines import Fatal
from gatekeeper.protocols.login import LoggedIn, LoginClient, Rejected
from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS, Credentials
from gatekeeper.protocols.smtp.client import SmtpLogin, ehlo_name
from gatekeeper.protocols.smtp.server import MAX_COMMAND_OCTETS, Receiver

MAX_COMMANDS = 100
"""Before log-in, as many as on IMAP; Postfix's smtpd_junk_command_limit."""
MAX_ERRORS = 5
"""aiosmtpd's BOGUS_LIMIT."""

_OWN = DialogueLimits()
_FATAL = {Fatal.LINE_TOO_LONG: replies.LINE_TOO_LONG, Fatal.BAD_OCTETS: replies.BAD_OCTETS}


class SmtpDialogue:
    """One client's dialogue; see `flow.dialogue.Dialogue`."""

    __slots__ = ("_commands", "_dialogue", "_forbids_second_login", "_front", "_limits", "_peer", "_receiver", "_wants")

    def __init__(
        self,
        peer: Peer,
        hostname: str,
        loop: asyncio.AbstractEventLoop,
        *,
        forbids_second_login: bool,
        limits: DialogueLimits = _OWN,
    ) -> None:
        self._peer: Peer | None = peer
        self._front = Submission(peer, hostname, loop)
        self._forbids_second_login = forbids_second_login
        self._limits = limits
        self._receiver = self._new_receiver()
        self._dialogue: Dialogued | None = None
        self._wants: Want | None = None
        """What the front waits for; None before the greeting."""
        self._commands = 0

    def greet(self) -> None:
        """Say hello."""
        self._dialogue = self._front.begin()
        self._resume(None)
        self._go_on()

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        if self._peer is None:
            return
        self._receiver.receive_data(data)
        self._go_on()

    def tls_started(self) -> None:
        """Forget everything; the front does likewise."""
        self._receiver = self._new_receiver()
        self._commands = 0
        self._resume(b"")

    def login(self, credentials: Credentials, login: UpstreamLogin) -> LoginClient:
        """The client that logs in upstream, and says EHLO as the phone did."""
        return SmtpLogin(
            credentials,
            name=login.name,
            starttls=login.starttls,
            ehlo_name=ehlo_name(self._front.ehlo_name, login.client_address),
            client=(login.client_address, login.client_port) if login.tells_address == "xclient" else None,
            forbids_second_login=self._forbids_second_login,
        )

    def admitted(self, logged_in: LoggedIn) -> bytes:  # noqa: ARG002  the phone is told in our words
        """The 235."""
        return replies.LOGGED_IN + b"\r\n"

    def rejected(self, rejected: Rejected) -> None:
        """The mail server refused; a bearer mechanism's error is passed on first."""
        self._answer(Verdict(replies.rejected(rejected), rejected.challenge))

    def refused(self, text: str) -> None:
        """The policy refused. What the client sent behind its AUTH is answered like any command before log-in."""
        self._answer(Verdict(replies.refused(text)))

    def unavailable(self) -> None:
        """A fault of ours."""
        self._answer(Verdict(replies.FAULT))

    def farewell(self, why: Farewell) -> bytes:
        """421."""
        return replies.farewell(why) + b"\r\n"

    def unread(self) -> bytes:
        """What the client sent behind its AUTH."""
        return self._receiver.trailing_data

    def closed(self) -> None:
        """End the front's coroutine, and let go of everything."""
        dialogue, self._dialogue = self._dialogue, None
        self._peer = self._wants = None
        if dialogue is not None:
            dialogue.close()
        self._front.release()

    def _new_receiver(self) -> Receiver:
        limits = self._limits
        return Receiver(limits.max_line_octets or MAX_COMMAND_OCTETS, limits.max_response_octets or MAX_RESPONSE_OCTETS)

    def _answer(self, verdict: Verdict) -> None:
        self._resume(verdict)
        self._go_on()

    def _go_on(self) -> None:
        """Feed lines for as long as the front waits for one."""
        while (line := self._next_line()) is not None:
            if isinstance(line, Fatal):
                self._close(_FATAL[line])
            elif self._commands >= (self._limits.max_commands or MAX_COMMANDS):
                self._close(replies.farewell(Farewell.TOO_MANY_ERRORS))
            else:
                self._commands += 1
                self._resume(line)

    def _next_line(self) -> bytes | Fatal | None:
        if self._wants is Wants.COMMAND:
            return self._receiver.next_command()
        if self._wants is Wants.RESPONSE:
            return self._receiver.next_response()
        return None

    def _resume(self, given: Given) -> None:
        """Let the front go on with what it waited for, and see to what it wants next."""
        dialogue, peer = self._dialogue, self._peer
        if dialogue is None or peer is None:
            return
        self._wants = None
        want = dialogue.send(given)
        if self._front.fault is not None:
            raise self._front.fault  # to the connection's guard, which logs it with the connection's id and closes
        if self._front.errors >= (self._limits.max_errors or MAX_ERRORS):
            self._close(replies.farewell(Farewell.TOO_MANY_ERRORS))
            return
        self._wants = want
        match want:
            case Wants.COMMAND | Wants.RESPONSE:
                pass
            case Wants.TLS:
                peer.start_tls(replies.START_TLS + b"\r\n", leftover=self._receiver.trailing_data)
            case Wants.END:
                self._close()
            case Credentials():
                peer.log_in(want)
            case _:
                assert_never(want)

    def _close(self, last_words: bytes = b"") -> None:
        peer, self._peer, self._wants = self._peer, None, None
        if peer is not None:
            peer.close(last_words + b"\r\n" if last_words else b"")


def smtp_dialogue(
    hostname: str,
    loop: asyncio.AbstractEventLoop,
    *,
    forbids_second_login: bool = False,
    limits: DialogueLimits = _OWN,
) -> NewDialogue:
    """How a listener starts its dialogues, greeting as `hostname`; see `SmtpLogin` for `forbids_second_login`."""
    # Below that level aiosmtpd logs what clients send; a base64 password sent out of turn is an unknown command to it.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    return lambda peer: SmtpDialogue(peer, hostname, loop, forbids_second_login=forbids_second_login, limits=limits)
