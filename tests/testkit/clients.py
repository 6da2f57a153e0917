"""Mail clients as people run them: a command line and a configuration file each, all in one directory of the test's.

An action takes a `Seat` (who, where to, from which directory) and a message, and returns what the client said and which
messages it brought home. Clients are told to add nothing to a message; what they add all the same is taken away in
`without`, by the name of the header.
"""

import contextlib
import os
import pty
import select
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testkit.bed import Door, Target
from testkit.dovecot import User

DEADLINE_S = 60


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a client runs, for whom, against what."""

    home: Path
    user: User
    target: Target | Door

    def file(self, name: str, text: str) -> str:
        """Write a configuration file that only its owner reads, and return its path."""
        path = self.home / name
        path.write_text(text.format(user=self.user, target=self.target, home=self.home))
        path.chmod(0o600)
        return str(path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    code: int
    said: str
    messages: frozenset[bytes] = frozenset()
    """With CRLF."""


Action = Callable[[Seat, bytes], Outcome]


def run(seat: Seat, *command: str, given: bytes | None = None) -> Outcome:
    """Run a client to its end."""
    done = subprocess.run(
        command,
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=seat.home,
        env=_environment(seat),
        timeout=DEADLINE_S,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(errors="replace"))


def _environment(seat: Seat) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(seat.home),
        "FETCHMAILHOME": str(seat.home),
        "SSL_CERT_FILE": str(seat.target.ca_file),  # for Python's clients
        "LANG": "C.UTF-8",
        "TERM": "xterm",
    }


def with_crlf(message: bytes) -> bytes:
    """The message as it is on the wire."""
    return message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def without(message: bytes, *headers: bytes) -> bytes:
    """The message without the one-line headers a client marks its own messages with."""
    head, gap, body = message.partition(b"\r\n\r\n")
    kept = [line for line in head.split(b"\r\n") if not line.startswith(headers)]
    return b"\r\n".join(kept) + gap + body


def maildir(path: Path, *added: bytes) -> frozenset[bytes]:
    """The messages in a Maildir, without the headers that the client added."""
    return frozenset(without(with_crlf(file.read_bytes()), *added) for file in path.glob("[cn]*/*"))


def make_maildir(path: Path, *messages: bytes) -> None:
    """Make a Maildir with these messages in it."""
    for folder in ("cur", "new", "tmp"):
        (path / folder).mkdir(parents=True, exist_ok=True)
    for number, message in enumerate(messages):
        (path / "new" / f"1.{number}.near").write_bytes(message.replace(b"\r\n", b"\n"))


# curl


def _curl(seat: Seat, *arguments: str, given: bytes | None = None) -> Outcome:
    config = seat.file(
        "curlrc", 'silent\nshow-error\nverbose\ncacert = "{target.ca_file}"\nuser = "{user.login}:{user.password}"\n'
    )
    return run(seat, "curl", "--config", config, "--max-time", "20", *arguments, given=given)


def _curl_list(seat: Seat, message: bytes) -> Outcome:
    return _curl(seat, f"imaps://localhost:{seat.target.imaps}/")


def _curl_fetch(seat: Seat, message: bytes) -> Outcome:
    file = seat.home / "fetched"
    done = _curl(seat, "--output", str(file), f"imaps://localhost:{seat.target.imaps}/INBOX;MAILINDEX=1")
    return Outcome(done.code, done.said, frozenset({file.read_bytes()}) if file.exists() else frozenset())


def _curl_append(seat: Seat, message: bytes) -> Outcome:
    (seat.home / "message").write_bytes(message)
    url = f"imap://localhost:{seat.target.imap}/INBOX"
    return _curl(seat, "--ssl-reqd", "--upload-file", str(seat.home / "message"), url)


def _curl_send(seat: Seat, message: bytes) -> Outcome:
    (seat.home / "message").write_bytes(message)
    envelope = ("--mail-from", seat.user.login, "--mail-rcpt", seat.user.login)
    url = f"smtps://localhost:{seat.target.submissions}"
    return _curl(seat, *envelope, "--upload-file", str(seat.home / "message"), url)


# mbsync

_MBSYNCRC = """
IMAPAccount gate
Host localhost
Port {target.imaps}
User {user.login}
PassCmd "echo '{user.password}'"
SSLType IMAPS
CertificateFile {target.ca_file}

IMAPStore far
Account gate

MaildirStore near
Path {home}/near/
Inbox {home}/near/INBOX

Channel mail
Far :far:
Near :near:
Patterns *
Create Near
SyncState *
"""


def _mbsync(seat: Seat, *arguments: str) -> Outcome:
    make_maildir(seat.home / "near" / "INBOX")
    done = run(seat, "mbsync", "--config", seat.file("mbsyncrc", _MBSYNCRC), *arguments, "mail")
    return Outcome(done.code, done.said, maildir(seat.home / "near" / "INBOX", b"X-TUID: "))


def _mbsync_append(seat: Seat, message: bytes) -> Outcome:
    make_maildir(seat.home / "near" / "INBOX", message)
    return _mbsync(seat, "--push")


# OfflineIMAP

# By implicit TLS: with STARTTLS it hangs now and then, straight at Dovecot (11 of 240 runs) no less than through the gate
# (3 of 160), and never with TLS 1.2 (0 of 200). Its reading thread is then in SSL_read, with nothing to come: the session
# tickets of TLS 1.3 seem to have woken it while another thread wrote, which OpenSSL does not allow on one connection.
# Other clients here that start TLS: curl (append), msmtp and swaks.
_OFFLINEIMAPRC = """
[general]
accounts = gate
metadata = {home}/offlineimap
ui = basic
[Account gate]
localrepository = near
remoterepository = far
%s
[Repository near]
type = Maildir
localfolders = {home}/near
[Repository far]
type = IMAP
remotehost = localhost
remoteport = {target.imaps}
ssl = yes
starttls = no
sslcacertfile = {target.ca_file}
remoteuser = {user.login}
remotepass = {user.password}
folderfilter = lambda folder: folder == 'INBOX'
%s
"""


def _offlineimap(seat: Seat, *arguments: str) -> Outcome:
    config = seat.file("offlineimaprc", _OFFLINEIMAPRC % ("", ""))
    done = run(seat, "offlineimap", "-c", config, *arguments)
    return Outcome(done.code, done.said, maildir(seat.home / "near" / "INBOX"))


def _offlineimap_append(seat: Seat, message: bytes) -> Outcome:
    make_maildir(seat.home / "near" / "INBOX", message)
    return _offlineimap(seat, "-o")


# NeoMutt

_NEOMUTTRC = """
set ssl_force_tls=yes ssl_starttls=yes
set ssl_ca_certificates_file="{target.ca_file}" ssl_verify_host=yes ssl_verify_dates=yes
set certificate_file=""
set imap_user="{user.login}" imap_pass="{user.password}"
set folder="imaps://localhost:{target.imaps}/" spoolfile="+INBOX"
set smtp_url="smtps://{user.login}@localhost:{target.submissions}/" smtp_pass="{user.password}"
set from="{user.login}" realname="" use_envelope_from=yes hostname=example.com
set allow_8bit=yes encode_from=no copy=yes record="+INBOX" fcc_attach=yes sendmail_wait=0 use_from=yes
set quit=yes confirmappend=no confirmcreate=no mbox_type=Maildir delete=no move=no mark_old=no
set header_cache="" message_cachedir="" sleep_time=0 wait_key=no imap_passive=yes imap_check_subscribed=no
"""


def _neomutt_fetch(seat: Seat, message: bytes) -> Outcome:
    """In a terminal of its own, with the keys typed beforehand."""
    kept = seat.home / "kept"
    keys = f"<copy-message><kill-line>{kept}<enter><quit>"
    config = seat.file("neomuttrc", _NEOMUTTRC)
    done = _in_a_terminal(seat, "neomutt", "-n", "-F", config, "-f", "+INBOX", "-e", f'push "{keys}"')
    return Outcome(done.code, done.said, maildir(kept, b"Content-Length: ", b"Lines: "))


def _neomutt_send(seat: Seat, message: bytes) -> Outcome:
    """As a batch, with a head of its own: the message is sent, and appended to the folder for sent mail."""
    _, _, body = message.partition(b"\r\n\r\n")
    config = seat.file("neomuttrc", _NEOMUTTRC)
    command = ("neomutt", "-n", "-F", config, "-s", "sent", seat.user.login)
    return run(seat, *command, given=body.replace(b"\r\n", b"\n"))


def _in_a_terminal(seat: Seat, *command: str) -> Outcome:
    ours, theirs = pty.openpty()
    said: list[bytes] = []
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=seat.home,
        env=_environment(seat),
        start_new_session=True,
    ) as process:
        os.close(theirs)
        deadline = threading.Timer(DEADLINE_S, process.kill)
        deadline.start()
        with contextlib.suppress(OSError):  # the other end of a terminal closes with EIO
            while select.select([ours], [], [], DEADLINE_S)[0] and (piece := os.read(ours, 65_536)):
                said.append(piece)
        process.wait(DEADLINE_S)
        deadline.cancel()
    os.close(ours)
    return Outcome(process.returncode, b"".join(said).decode(errors="replace"))


# fetchmail

_FETCHMAILRC = """
set no bouncemail
set invisible
poll localhost protocol imap port {target.imaps}
  user "{user.login}" password "{user.password}" is root here
  ssl sslcertck sslcertfile "{target.ca_file}"
  no rewrite pass8bits keep fetchall %s
  mda "{home}/deliver"
"""
_DELIVER = '#!/bin/sh\nfile=$(mktemp "{home}/near/tmp/XXXXXX") && cat >"$file" && mv "$file" "{home}/near/new/"\n'


def make_deliver(seat: Seat) -> None:
    """The program that takes fetched messages: clients refuse to write a Maildir as root."""
    make_maildir(seat.home / "near")
    seat.file("deliver", _DELIVER)
    (seat.home / "deliver").chmod(0o700)


def fetchmail(seat: Seat, config: str) -> list[str]:
    """How it is run; root's has one lock for the whole machine unless it is told another one."""
    lock = str(seat.home / "fetchmail.pid")
    return ["fetchmail", "--fetchmailrc", config, "--pidfile", lock, "--nodetach", "--nosyslog", "-v"]


def _fetchmail_command(seat: Seat, *, idle: bool) -> list[str]:
    make_deliver(seat)
    config = seat.file("fetchmailrc", _FETCHMAILRC % ("idle" if idle else ""))
    return fetchmail(seat, config)


def _fetchmail_fetch(seat: Seat, message: bytes) -> Outcome:
    done = run(seat, *_fetchmail_command(seat, idle=False))
    return Outcome(done.code, done.said, maildir(seat.home / "near"))


# getmail

_GETMAILRC = """
[retriever]
type = SimpleIMAPSSLRetriever
server = localhost
port = {target.imaps}
username = {user.login}
password = {user.password}
ca_certs = {target.ca_file}
[destination]
type = MDA_external
path = {home}/deliver
allow_root_commands = true
unixfrom = false
[options]
read_all = false
delivered_to = false
received = false
"""
GETMAIL_ADDS = (b"X-getmail-retrieved-from-mailbox: ", b"Return-Path: <unknown>")


def _getmail_command(seat: Seat, *, idle: bool) -> list[str]:
    make_deliver(seat)
    config = seat.file("getmailrc", _GETMAILRC)
    return ["getmail", "--getmaildir", str(seat.home), "--rcfile", config, *(("--idle", "INBOX") if idle else ())]


def _getmail_fetch(seat: Seat, message: bytes) -> Outcome:
    done = run(seat, *_getmail_command(seat, idle=False))
    return Outcome(done.code, done.said, maildir(seat.home / "near", *GETMAIL_ADDS))


# msmtp and swaks

_MSMTPRC = """
account gate
host localhost
port {target.submission}
tls on
tls_starttls on
tls_trust_file {target.ca_file}
auth plain
user {user.login}
password {user.password}
from {user.login}
account default : gate
"""


def _msmtp_send(seat: Seat, message: bytes) -> Outcome:
    config = seat.file("msmtprc", _MSMTPRC)
    given = message.replace(b"\r\n", b"\n")
    return run(seat, "msmtp", "--debug", "--file", config, seat.user.login, given=given)


def _swaks_send(seat: Seat, message: bytes) -> Outcome:
    user, target = seat.user, seat.target
    who = ("--auth-user", user.login, "--auth-password", user.password, "--from", user.login, "--to", user.login)
    tls = ("--tls", "--tls-verify", "--tls-ca-path", str(target.ca_file))
    server = ("--server", f"localhost:{target.submission}", "--auth", "LOGIN")
    return run(seat, "swaks", *server, *tls, *who, "--data", "-", given=message.removesuffix(b"\r\n"))


# Waiting for mail


@dataclass(frozen=True, slots=True)
class Idler:
    """A client that is told of new mail."""

    command: Callable[[Seat], list[str]]
    folder: str
    added: tuple[bytes, ...] = ()

    def messages(self, seat: Seat) -> frozenset[bytes]:
        """What it brought home so far."""
        return maildir(seat.home / self.folder, *self.added)

    @contextlib.contextmanager
    def running(self, seat: Seat) -> Iterator[None]:
        """Run it, and end it."""
        with (
            (seat.home / "idler.log").open("wb") as log,
            subprocess.Popen(
                self.command(seat),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=seat.home,
                env=_environment(seat),
            ) as process,
        ):
            try:
                yield
            finally:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()


IDLERS: Mapping[str, Idler] = {
    "fetchmail": Idler(lambda seat: _fetchmail_command(seat, idle=True), "near"),
    "getmail": Idler(lambda seat: _getmail_command(seat, idle=True), "near", GETMAIL_ADDS),
}

ACTIONS: Mapping[str, Mapping[str, Action]] = {
    "curl": {"list": _curl_list, "fetch": _curl_fetch, "append": _curl_append, "send": _curl_send},
    "mbsync": {
        "list": lambda seat, _: _mbsync(seat, "--list"),
        "fetch": lambda seat, _: _mbsync(seat, "--pull"),
        "append": _mbsync_append,
    },
    "offlineimap": {
        "list": lambda seat, _: _offlineimap(seat, "--info"),
        "fetch": lambda seat, _: _offlineimap(seat, "-o"),
        "append": _offlineimap_append,
    },
    "neomutt": {"fetch": _neomutt_fetch, "send": _neomutt_send},
    "fetchmail": {"fetch": _fetchmail_fetch},
    "getmail": {"fetch": _getmail_fetch},
    "msmtp": {"send": _msmtp_send},
    "swaks": {"send": _swaks_send},
}
"""What each client can do."""
