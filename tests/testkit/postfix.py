"""A private Postfix: submission with STARTTLS, submissions with implicit TLS, delivery into Dovecot's Maildirs.

Postfix's master must be root. Log-ins are checked by Dovecot's auth socket. A port of its own without log-in takes
what Dovecot's submission service relays. Configuration, queue, data and log live in one temporary directory.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from testkit.dovecot import DOMAIN, Dovecot, User
from testkit.ports import LOOPBACK, free_port
from testkit.running import running
from testkit.tls import KeyPair
from testkit.waiting import eventually

PROGRAM = shutil.which("postfix", path=os.environ.get("PATH", "") + ":/usr/sbin")

_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/postfix.log
maillog_file_prefixes = {directory}
multi_instance_wrapper =
inet_interfaces = {loopback}
inet_protocols = all
myhostname = mail.{domain}
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
biff = no
message_size_limit = 67108864
virtual_mailbox_limit = 0
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {mail}
virtual_mailbox_maps = texthash:{directory}/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
default_transport = error:no mail leaves the test bed
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {private_key}
smtpd_tls_security_level = may
smtpd_tls_auth_only = no
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth_socket}
smtpd_sasl_security_options = noanonymous
smtpd_error_sleep_time = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
smtpd_recipient_restrictions =
smtpd_relay_restrictions = permit_sasl_authenticated, reject
"""

_MASTER = """
{submission} inet n - n - 100 smtpd
  -o smtpd_sasl_auth_enable=yes
{submissions} inet n - n - 100 smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_wrappermode=yes
{clear} inet n - n - 100 smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_security_level=none
{xclient} inet n - n - 100 smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_authorized_xclient_hosts=127.0.0.1
{haproxy} inet n - n - 100 smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_security_level=none
  -o smtpd_upstream_proxy_protocol=haproxy
{relay} inet n - n - 10 smtpd
  -o smtpd_relay_restrictions=permit_mynetworks,reject
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A running Postfix; `stop` ends it and removes its files."""

    def __init__(
        self, pair: KeyPair, dovecot: Dovecot, users: tuple[User, ...], *, relay_port: int, ports: tuple[int, int, int]
    ) -> None:
        """Start; `ports` are those of submission, submissions and of submission that knows no TLS.

        `relay_port` takes mail without log-in.
        """
        assert PROGRAM is not None, "Postfix is not installed"
        self.submission_port, self.submissions_port, self.clear_port = ports
        self.xclient_port = free_port()
        """STARTTLS; takes XCLIENT from the gate's address."""
        self.haproxy_port = free_port()
        """Wants a PROXY header."""
        self._directory = Path(tempfile.mkdtemp(prefix="gk-postfix-"))
        self._directory.chmod(0o755)
        self._configuration = self._directory / "etc"
        self._configuration.mkdir()
        (self._directory / "queue").mkdir()
        (self._directory / "data").mkdir()
        shutil.chown(self._directory / "data", "postfix", "postfix")
        (self._directory / "mailboxes").write_text("".join(f"{user.login} {user.login}/\n" for user in users))
        (self._configuration / "main.cf").write_text(
            _MAIN.format(
                directory=self._directory,
                loopback=LOOPBACK,
                domain=DOMAIN,
                mail=dovecot.mail,
                uid=dovecot.mail_uid,
                gid=dovecot.mail_gid,
                certificate=pair.certificate,
                private_key=pair.private_key,
                auth_socket=dovecot.auth_socket,
            )
        )
        (self._configuration / "master.cf").write_text(
            _MASTER.format(
                submission=self.submission_port,
                submissions=self.submissions_port,
                clear=self.clear_port,
                xclient=self.xclient_port,
                haproxy=self.haproxy_port,
                relay=relay_port,
            )
        )
        running["Postfix"] = self
        started = self._control("start")
        assert started.returncode == 0, started.stdout + started.stderr + self.log()
        eventually(lambda: "daemon started" in self.log(), within=30, what=self.log)

    def log(self) -> str:
        """Return what Postfix logged."""
        path = self._directory / "postfix.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        """End Postfix with its children."""
        running.pop("Postfix", None)
        self._control("stop")
        shutil.rmtree(self._directory, ignore_errors=True)

    def _control(self, command: str) -> subprocess.CompletedProcess[str]:
        assert PROGRAM is not None
        return subprocess.run(
            [PROGRAM, "-c", str(self._configuration), command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
