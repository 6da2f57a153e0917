"""A private Cyrus IMAP 3: the mail server that offers what Dovecot does not (COMPRESS, UNAUTHENTICATE, ACL, QUOTA).

Debian's cyrus-imapd shuts out dovecot-imapd, so `install_servers.sh` installs cyrus-common and unpacks the former's
programs beside it. As root Cyrus runs as its own user, otherwise as the invoking one. Passwords are asked of a saslauthd
socket that is served here. Nothing outside the directory is touched.
"""

import getpass
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from testkit.dovecot import DOMAIN, User
from testkit.ports import LOOPBACK, free_port
from testkit.running import running
from testkit.tls import KeyPair
from testkit.waiting import eventually

MASTER = Path("/usr/lib/cyrus/bin/master")
_PLACES = (Path("/usr/lib/cyrus/bin/imapd"), Path("/usr/local/lib/gatekeeper-tests/cyrus/usr/lib/cyrus/bin/imapd"))
IMAPD = next((place for place in _PLACES if place.exists()), None)
IS_INSTALLED = MASTER.exists() and IMAPD is not None

_CONFIGURATION = """
configdirectory: {directory}/conf
partition-default: {directory}/mail
defaultpartition: default
cyrus_user: {owner}
servername: localhost
unixhierarchysep: yes
virtdomains: userid
defaultdomain: {domain}
autocreate_quota: 0
autocreate_post: yes
duplicatesuppression: no
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: {directory}/mux
tls_server_cert: {directory}/server.crt
tls_server_key: {directory}/server.key
tls_session_timeout: 0
failedloginpause: 0
imapidlepoll: 1
idlesocket: {directory}/conf/socket/idle
maxlogins_per_host: 0
{more}
"""

_SERVICES = """
START {{
  recover cmd="ctl_cyrusdb -C {directory}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{imapd} -C {directory}/imapd.conf -U 50" listen="{loopback}:{imap_port}" prefork=2 proto=tcp4
  imaps cmd="{imapd} -C {directory}/imapd.conf -s -U 50" listen="{loopback}:{imaps_port}" prefork=0 proto=tcp4
}}
"""


class Cyrus:
    """A running Cyrus; `stop` ends it and removes its files."""

    def __init__(self, pair: KeyPair, users: tuple[User, ...], *, more: str = "") -> None:
        """Start with `users`; `more` is added to its imapd.conf."""
        self._directory = Path(tempfile.mkdtemp(prefix="gk-cyrus-"))
        self._directory.chmod(0o755)
        self.imap_port, self.imaps_port = free_port(), free_port()
        self._accounts = _Accounts(self._directory / "mux", users)
        self._write_files(pair, more)
        running["Cyrus"] = self
        self._errors = (self._directory / "master.log").open("wb")
        self._process = subprocess.Popen(
            [
                str(MASTER),
                *("-C", str(self._directory / "imapd.conf")),
                *("-M", str(self._directory / "cyrus.conf")),
                *("-p", str(self._directory / "conf" / "master.pid")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            start_new_session=True,  # told to end, its master tells the whole process group
        )
        eventually(self._greets, within=60, what=self.log)

    def log(self) -> str:
        """Return what its master wrote; the rest goes to the system's log, if there is one."""
        return (self._directory / "master.log").read_text(errors="replace")

    def messages(self, user: User) -> set[bytes]:
        """Return the stored messages that name this user (the directories of mailboxes have random names)."""
        stored = {path.read_bytes() for path in self._directory.glob("mail/**/*[0-9].")}
        return {message for message in stored if user.login.encode() in message}

    def stop(self) -> None:
        """End Cyrus with its children."""
        running.pop("Cyrus", None)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._accounts.stop()
        self._errors.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _greets(self) -> bool:
        assert self._process.poll() is None, self.log()
        try:
            with socket.create_connection((LOOPBACK, self.imap_port), timeout=5) as probe:
                return probe.recv(100).startswith(b"* OK")
        except OSError:
            return False

    def _write_files(self, pair: KeyPair, more: str) -> None:
        directory = self._directory
        owner = "cyrus" if os.getuid() == 0 else getpass.getuser()
        for folder in ("conf", "conf/socket", "conf/proc", "conf/db", "conf/log", "conf/lock", "mail"):
            (directory / folder).mkdir()
            shutil.chown(directory / folder, owner)
        for name, source in (("server.crt", pair.certificate), ("server.key", pair.private_key)):
            shutil.copy(source, directory / name)
            shutil.chown(directory / name, owner)
        (directory / "imapd.conf").write_text(
            _CONFIGURATION.format(directory=directory, owner=owner, domain=DOMAIN, more=more)
        )
        (directory / "cyrus.conf").write_text(
            _SERVICES.format(
                directory=directory,
                imapd=IMAPD,
                loopback=LOOPBACK,
                imap_port=self.imap_port,
                imaps_port=self.imaps_port,
            )
        )


class _Accounts:
    """saslauthd's protocol: four counted strings (name, password, service, realm), answered `OK` or `NO`."""

    def __init__(self, path: Path, users: tuple[User, ...]) -> None:
        self._passwords = {user.login: user.password for user in users}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o666)
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; no question is answered any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError, struct.error):  # who goes before it is answered holds up nobody else
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with connection.makefile("rb") as asked:
            name, password, _, realm = (asked.read(*struct.unpack("!H", asked.read(2))).decode() for _ in range(4))
        login = name if "@" in name else f"{name}@{realm or DOMAIN}"
        answer = b"OK" if self._passwords.get(login) == password else b"NO"
        connection.sendall(struct.pack("!H", len(answer)) + answer)
