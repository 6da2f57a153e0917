"""A private Dovecot 2.3: IMAP, POP3, submission, ManageSieve, an auth socket for Postfix; own directory and ports.

As root the mail belongs to `nobody` and the log-in processes run as Dovecot's own users; otherwise everything runs as
the invoking user. Nothing outside the directory is touched.
"""

import base64
import getpass
import grp
import hashlib
import hmac
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from testkit.ports import LOOPBACK, free_port, is_listened_on
from testkit.running import running
from testkit.tls import KeyPair
from testkit.waiting import eventually

PROGRAM = shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin")
SPEAKS_POP3 = Path("/usr/lib/dovecot/pop3-login").exists()
SPEAKS_SIEVE = Path("/usr/lib/dovecot/managesieve-login").exists()
DOMAIN = "example.com"
TOKEN_KEY = b"a key that only the test bed knows"

_CONFIGURATION = """
protocols = imap{submission_protocol}
listen = {loopback}
base_dir = {directory}/run
state_dir = {directory}/state
instance_name = gatekeeper-tests
log_path = {directory}/dovecot.log
default_internal_user = {internal_user}
default_internal_group = {internal_group}
default_login_user = {login_user}
first_valid_uid = {mail_uid}
first_valid_gid = {mail_gid}
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{private_key}
ssl_dh =
disable_plaintext_auth = no
auth_mechanisms = plain login xoauth2 oauthbearer
auth_failure_delay = 0
auth_verbose = yes
# Every log-in comes from one address here.
login_trusted_networks = 127.0.0.0/8
haproxy_trusted_networks = 127.0.0.1
mail_max_userip_connections = 200
mail_location = maildir:{directory}/mail/%u
mail_fsync = never
namespace inbox {{
  inbox = yes
}}
passdb {{
  driver = passwd-file
  master = yes
  mechanisms = plain
  args = {directory}/masters
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {directory}/oauth2.conf
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = {directory}/passwd
}}
userdb {{
  driver = static
  args = uid={mail_uid} gid={mail_gid} home={directory}/mail/%u
}}
service imap-login {{
  chroot = {chroot}
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
  inet_listener imap_haproxy {{
    port = {imap_haproxy_port}
    haproxy = yes
  }}
  inet_listener imaps_haproxy {{
    port = {imaps_haproxy_port}
    haproxy = yes
    ssl = yes
  }}
}}
{pop3}{sieve}
service submission-login {{
  chroot = {chroot}
  inet_listener submission {{
    port = {submission_port}
  }}
}}
service anvil {{
  chroot = {chroot}
  # Without this socket there is no penalty: failed log-ins of one test must not slow the next.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot = {chroot}
}}
service auth {{
  unix_listener {directory}/auth {{
    mode = 0666
  }}
}}
submission_relay_host = {loopback}
submission_relay_port = {relay_port}
submission_max_mail_size = 64 M
"""

_POP3 = """
protocols = $protocols pop3
service pop3-login {{
  chroot = {chroot}
  inet_listener pop3 {{
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    port = {pop3s_port}
    ssl = yes
  }}
  inet_listener pop3_proxied {{
    port = {pop3_proxied_port}
    haproxy = yes
  }}
}}
haproxy_trusted_networks = {loopback}
"""

_SIEVE = """
protocols = $protocols sieve
service managesieve-login {{
  chroot = {chroot}
  inet_listener sieve {{
    port = {sieve_port}
  }}
  inet_listener sieve_proxied {{
    port = {sieve_proxied_port}
    haproxy = yes
  }}
}}
plugin {{
  sieve = file:~/sieve;active=~/active.sieve
}}
"""

_OAUTH2 = """
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={directory}/token-keys/
username_attribute = sub
"""


@dataclass(frozen=True, slots=True)
class User:
    """A mail user."""

    login: str
    password: str


MASTER = User("gate-service", "the service's password")
"""May open every mailbox, by PLAIN with an authorization identity (Dovecot's master user)."""


class Dovecot:
    """A running Dovecot; `stop` ends it and removes its files."""

    def __init__(
        self, pair: KeyPair, users: tuple[User, ...], *, relay_port: int | None = None, more: str = ""
    ) -> None:
        """Start with `users`; `relay_port` is where submitted mail goes (None: no submission).

        `more` is added to its dovecot.conf.
        """
        assert PROGRAM is not None, "Dovecot is not installed"
        self._directory = Path(tempfile.mkdtemp(prefix="gk-dovecot-"))
        self._name = f"the Dovecot in {self._directory}"
        self._directory.chmod(0o755)  # the log-in users must reach the sockets below it
        self.imap_port = free_port()
        self.imaps_port = free_port()
        self.imap_haproxy_port = free_port()
        """Wants a PROXY header, as the next does."""
        self.imaps_haproxy_port = free_port()
        self.submission_port = free_port()
        self.pop3_port = free_port()
        """Where POP3 is spoken, if `SPEAKS_POP3`; STLS is offered."""
        self.pop3s_port = free_port()
        self.pop3_proxied_port = free_port()
        """As `pop3_port`, behind a PROXY header."""
        self.sieve_port = free_port()
        """Where ManageSieve is spoken, if `SPEAKS_SIEVE`; STARTTLS is offered."""
        self.sieve_proxied_port = free_port()
        """The same, behind a PROXY header."""
        self._submits = relay_port is not None
        self.auth_socket = self._directory / "auth"
        self.mail = self._directory / "mail"
        owner = pwd.getpwnam("nobody" if os.getuid() == 0 else getpass.getuser())
        self.mail_uid, self.mail_gid = owner.pw_uid, owner.pw_gid
        self._write_files(pair, users, relay_port, more)
        running[self._name] = self
        self._process = subprocess.Popen(
            [PROGRAM, "-F", "-c", str(self._directory / "dovecot.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._listens, within=30, what=self.log)

    def maildir(self, user: User) -> Path:
        """Return the directory of a user's INBOX."""
        return self.mail / user.login

    def log(self) -> str:
        """Return what Dovecot logged."""
        path = self._directory / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        """End Dovecot with its children."""
        running.pop(self._name, None)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        # The log-in processes share its sockets, and end a moment after it: until then one of them may take a connection.
        eventually(lambda: not any(map(is_listened_on, self._ports)), within=10, what="the end of its listening")
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _ports(self) -> list[int]:
        ports = [self.imap_port, self.imaps_port, self.imap_haproxy_port, self.imaps_haproxy_port]
        ports += [self.pop3_port, self.pop3s_port, self.pop3_proxied_port] if SPEAKS_POP3 else []
        ports += [self.sieve_port, self.sieve_proxied_port] if SPEAKS_SIEVE else []
        return ports + ([self.submission_port] if self._submits else [])

    def _listens(self) -> bool:
        """Everywhere: its sockets are made one after the other."""
        return self.auth_socket.exists() and all(map(is_listened_on, self._ports))

    def _write_files(self, pair: KeyPair, users: tuple[User, ...], relay_port: int | None, more: str) -> None:
        directory = self._directory
        as_root = os.getuid() == 0
        me = getpass.getuser()
        group = _primary_group(me)
        chroot = "login" if as_root else ""
        pop3 = _POP3.format(
            chroot=chroot,
            loopback=LOOPBACK,
            pop3_port=self.pop3_port,
            pop3s_port=self.pop3s_port,
            pop3_proxied_port=self.pop3_proxied_port,
        )
        sieve = _SIEVE.format(chroot=chroot, sieve_port=self.sieve_port, sieve_proxied_port=self.sieve_proxied_port)
        text = _CONFIGURATION.format(
            sieve=sieve if SPEAKS_SIEVE else "",
            pop3=pop3 if SPEAKS_POP3 else "",
            submission_protocol=" submission" if relay_port else "",
            loopback=LOOPBACK,
            directory=directory,
            internal_user="dovecot" if as_root else me,
            internal_group="dovecot" if as_root else group,
            login_user="dovenull" if as_root else me,
            mail_uid=self.mail_uid,
            mail_gid=self.mail_gid,
            certificate=pair.certificate,
            private_key=pair.private_key,
            chroot=chroot,
            imap_port=self.imap_port,
            imaps_port=self.imaps_port,
            imap_haproxy_port=self.imap_haproxy_port,
            imaps_haproxy_port=self.imaps_haproxy_port,
            submission_port=self.submission_port,
            relay_port=relay_port or 25,
        )
        (directory / "dovecot.conf").write_text(text + more)
        (directory / "oauth2.conf").write_text(_OAUTH2.format(directory=directory))
        (directory / "passwd").write_text("".join(f"{user.login}:{{PLAIN}}{user.password}\n" for user in users))
        (directory / "masters").write_text(f"{MASTER.login}:{{PLAIN}}{MASTER.password}\n")
        key_file = directory / "token-keys" / "default" / "HS256" / "default"
        key_file.parent.mkdir(parents=True)
        key_file.write_bytes(base64.b64encode(TOKEN_KEY))
        (directory / "state").mkdir()
        self.mail.mkdir()
        os.chown(self.mail, self.mail_uid, self.mail_gid)


def access_token(login: str) -> str:
    """Return a token that Dovecot accepts for `login` for the next hour."""
    now = int(time.time())  # noqa: TID251  Dovecot compares it with its own clock
    head = _base64url(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = _base64url(json.dumps({"sub": login, "iat": now - 5, "exp": now + 3600, "iss": "tests"}).encode())
    signature = hmac.new(TOKEN_KEY, head + b"." + body, hashlib.sha256).digest()
    return (head + b"." + body + b"." + _base64url(signature)).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _primary_group(user: str) -> str:
    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
