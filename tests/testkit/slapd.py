"""A private OpenLDAP server with people and groups; own directory and ports, as whoever runs the tests."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from testkit.ports import LOOPBACK, free_port, is_listened_on
from testkit.running import running
from testkit.tls import Authority, KeyPair
from testkit.waiting import eventually

_PATH = os.environ.get("PATH", "") + ":/usr/sbin"
PROGRAM = shutil.which("slapd", path=_PATH)
_SLAPADD = shutil.which("slapadd", path=_PATH)
BASE = "dc=example,dc=com"
GROUPS, PEOPLE = f"ou=groups,{BASE}", f"ou=people,{BASE}"
GATE = f"cn=gate,{BASE}"
"""May read all but `ou=hidden`; the gate asks as this one."""
PASSWORD = "the gate's password"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{BASE}", "admin"

_CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {directory}/slapd.pid
argsfile {directory}/slapd.args
loglevel stats
disallow bind_anon
TLSCertificateFile {certificate}
TLSCertificateKeyFile {private_key}
TLSCACertificateFile {client_ca}
TLSVerifyClient try
authz-regexp "^cn=([^,]+)$" "cn=$1,{base}"
# Who does not ask page by page gets no more than this; nor does a page have more than it.
sizelimit size.soft={size} size.hard={size} size.pr={size} size.prtotal=unlimited
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw {admin_password}
directory {directory}/data
dbnosync
index objectClass,cn,uid,mail,member,memberOf,memberUid eq
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=hidden,{base}" by * none
access to * by dn.exact="{gate}" read by * none
"""


class Slapd:
    """A running slapd; `stop` ends it and removes its files."""

    def __init__(self, pair: KeyPair, clients: Authority, entries: str = "", *, size: int = 20) -> None:
        """Start with `entries` (LDIF) besides the base, `ou=people`, `ou=groups`, `ou=hidden` and the gate's own.

        `clients` issues certificates that are believed (SASL EXTERNAL); `size`: the server's limit for an answer.
        """
        assert PROGRAM is not None, "slapd is not installed"
        assert _SLAPADD is not None, "slapd is not installed"
        self._directory = Path(tempfile.mkdtemp(prefix="gk-slapd-"))
        self._name = f"the slapd in {self._directory}"
        self.ldap_port, self.ldaps_port = free_port(), free_port()
        (self._directory / "data").mkdir()
        self._file = self._directory / "slapd.conf"
        self._file.write_text(
            _CONFIGURATION.format(
                directory=self._directory,
                certificate=pair.certificate,
                private_key=pair.private_key,
                client_ca=clients.ca_file,
                base=BASE,
                admin=ADMIN,
                admin_password=ADMIN_PASSWORD,
                gate=GATE,
                size=size,
            )
        )
        added = subprocess.run(
            [_SLAPADD, "-q", "-f", str(self._file)],
            input=_tree(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert added.returncode == 0, added.stderr
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.change(entries, "-a")  # not by slapadd, which no overlay sees

    @property
    def ldaps(self) -> str:
        """With TLS from the first octet."""
        return f"ldaps://localhost:{self.ldaps_port}"

    @property
    def ldap(self) -> str:
        """Where TLS begins by StartTLS."""
        return f"ldap://localhost:{self.ldap_port}"

    def start(self) -> None:
        """Serve, again after `pause`."""
        running[self._name] = self
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(PROGRAM or "", "-f", str(self._file), "-d", "stats"),
                    *("-h", f"ldap://{LOOPBACK}:{self.ldap_port} ldaps://{LOOPBACK}:{self.ldaps_port}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        # What it says of its start comes before it listens.
        ports = (self.ldap_port, self.ldaps_port)
        eventually(lambda: all(map(is_listened_on, ports)), within=30, what=self.log)

    def pause(self) -> None:
        """End the server, and keep its files."""
        running.pop(self._name, None)
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        (self._directory / "log").unlink(missing_ok=True)

    def stop(self) -> None:
        """End the server for good."""
        self.pause()
        shutil.rmtree(self._directory, ignore_errors=True)

    def change(self, ldif: str, *options: str) -> None:
        """Carry out changes (LDIF), as the administrator."""
        done = subprocess.run(
            [
                *("ldapmodify", "-x", "-H", f"ldap://{LOOPBACK}:{self.ldap_port}", "-D", ADMIN, "-w", ADMIN_PASSWORD),
                *options,
            ],
            input=ldif,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LDAPNOINIT": "1"},
        )
        assert done.returncode == 0, done.stderr

    def put_in(self, group: str, *people: str) -> None:
        """Make these the group's members."""
        self.change(members(group, people))

    def log(self) -> str:
        """Return what slapd logged."""
        path = self._directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""


def members(group: str, people: Sequence[str]) -> str:
    """A change that gives the group just these members, and the administrator, for it must have one."""
    values = "".join(f"member: {person_dn(who)}\n" for who in people)
    return f"dn: cn={group},{GROUPS}\nchangetype: modify\nreplace: member\nmember: {ADMIN}\n{values}\n"


def person_dn(who: str) -> str:
    """The DN of a person of `person`, or what is one already."""
    return who if "=" in who else f"uid={who},{PEOPLE}"


def person(uid: str, *mails: str) -> str:
    """A person as LDIF; by default with the address `uid@example.com`."""
    addresses = "".join(f"mail: {mail}\n" for mail in mails or (f"{uid}@example.com",))
    return f"dn: uid={uid},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\n{addresses}\n"


def group(name: str, *who: str, under: str = GROUPS) -> str:
    """A groupOfNames as LDIF; `who` are uids, or DNs."""
    values = "".join(f"member: {person_dn(one)}\n" for one in who or (ADMIN,))
    return f"dn: cn={name},{under}\nobjectClass: groupOfNames\ncn: {name}\n{values}\n"


def ldap_settings(slapd: Slapd, ca: Path, password_file: Path, **more: object) -> Mapping[str, object]:
    """`[groups.ldap]` of a gate that asks it."""
    password_file.write_text(f"{PASSWORD}\n")
    return {
        "url": slapd.ldaps,
        "ca": str(ca),
        "bind_dn": GATE,
        "password_file": str(password_file),
        "base": BASE,
        **more,
    }


def _tree() -> str:
    units = "".join(
        f"dn: ou={unit},{BASE}\nobjectClass: organizationalUnit\nou: {unit}\n\n"
        for unit in ("people", "groups", "hidden", "more")
    )
    return (
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n{units}"
        f"dn: {GATE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: gate\n"
        f"userPassword: {PASSWORD}\n\n"
    )
