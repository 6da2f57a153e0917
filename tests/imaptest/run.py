"""ImapTest straight at Dovecot and through the gate: `python tests/imaptest/run.py DIRECTORY [SECONDS [CLIENTS]]`.

DIRECTORY is where `build.sh` built it. Its scripts are run, then its stress mode with that many clients, each first
straight, then through the gate. Exit code 1: something failed through the gate that does not fail without it.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from testkit.dovecot import DOMAIN, Dovecot, User
from testkit.gate import GateProcess, policy, upstream
from testkit.tls import Authority

USERS = tuple(User(f"user{number}@{DOMAIN}", "secret") for number in range(1, 6))
MORE = """
mail_plugins = quota acl
protocol imap {
  mail_plugins = quota acl imap_quota imap_acl imap_zlib
}
plugin {
  quota = maildir:User quota
  acl = vfile
}
imap_metadata = yes
mail_attribute_dict = file:%h/dovecot-attributes
namespace inbox {
  separator = /
}
"""
STRESS = (
    *("auth=50", "mcreate=20", "mdelete=10", "msubs=20", "uidf=30", "sear=30", "sort=30", "thre=20", "noop=40"),
    *("chec=20", "seed=7"),
)
"""All that it can do but IDLE, at which this version of ImapTest itself ends in a panic."""
_FAILED = re.compile(r"^\*\*\* Test (.*)", re.MULTILINE)
_ERROR = re.compile(r"^(?:Error|Panic|Fatal): .*", re.MULTILINE)
_TOTALS = re.compile(r"^(?:[0-9]+ test groups|base protocol|extensions): .*", re.MULTILINE)


@contextmanager
def _sites() -> Iterator[tuple[Dovecot, dict[str, int]]]:
    """Dovecot, and the ports with implicit TLS: its own and that of the gate in front of it."""
    directory = Path(tempfile.mkdtemp(prefix="gk-imaptest-"))
    directory.chmod(0o755)
    servers, devices = Authority(directory, "servers"), Authority(directory, "devices")
    dovecot = Dovecot(servers.server_certificate("mail"), USERS, more=MORE)
    changes = {"upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(dovecot.submission_port)}}
    everybody = policy().replace('unknown_device   = "block"', 'unknown_device   = "allow"')
    gate = GateProcess(directory, servers, devices, changes, policy_text=everybody)
    gate.start()
    try:
        yield dovecot, {"direct": dovecot.imaps_port, "gate": gate.ports.imaps}
    finally:
        gate.discard()
        dovecot.stop()
        shutil.rmtree(directory)


def _run(imaptest: Path, dovecot: Dovecot, port: int, *arguments: str) -> str:
    """Run it with empty mailboxes; what it said."""
    for mailbox in dovecot.mail.iterdir():
        shutil.rmtree(mailbox)
    mbox = imaptest / "src" / "tests" / "default.mbox"
    server = ("host=127.0.0.1", f"port={port}", "ssl=any-cert", f"pass={USERS[0].password}", f"mbox={mbox}")
    done = subprocess.run([imaptest / "src" / "imaptest", *server, *arguments], capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    return said if done.returncode in (0, 2) else f"{said}\nFatal: it ended with {done.returncode}"


def _scripts(imaptest: Path, dovecot: Dovecot, ports: dict[str, int]) -> bool:
    failed: dict[str, list[str]] = {}
    for name, port in ports.items():
        users = (f"user={USERS[0].login}", f"user2={USERS[1].login}")
        said = _run(imaptest, dovecot, port, *users, f"test={imaptest / 'src' / 'tests'}")
        totals = _TOTALS.findall(said)
        failed[name] = _FAILED.findall(said) if totals else ["it did not come to an end"]
        print(f"scripts, {name}: {'; '.join(totals)}")
    extra = [one for one in failed["gate"] if one not in failed["direct"]]
    for one in extra:
        print(f"  fails through the gate only: {one}")
    return not extra


def _stress(imaptest: Path, dovecot: Dovecot, ports: dict[str, int], seconds: str, clients: str) -> bool:
    errors: dict[str, list[str]] = {}
    for name, port in ports.items():
        who = (f"user=user%d@{DOMAIN}", f"users=1-{len(USERS)}", f"clients={clients}", f"secs={seconds}")
        said = _run(imaptest, dovecot, port, *who, *STRESS)
        names, _, _, counts = (said.partition("Totals:\n")[2].splitlines() + [""] * 4)[:4]
        counted = " ".join(f"{what}={count}" for what, count in zip(names.split(), counts.split(), strict=False))
        errors[name] = _ERROR.findall(said)
        print(f"stress, {name}: {clients} clients, {seconds} s: {len(errors[name])} errors; {counted}")
    for one in errors["gate"][:20]:
        print(f"  {one}")
    return len(errors["gate"]) <= len(errors["direct"])


def main() -> int:
    """Run both."""
    imaptest = Path(sys.argv[1]).resolve()
    seconds, clients, *_ = [*sys.argv[2:], *("60", "20")[len(sys.argv[2:]) :]]
    with _sites() as (dovecot, ports):
        scripts = _scripts(imaptest, dovecot, ports)
        stress = _stress(imaptest, dovecot, ports, seconds, clients)
    return 0 if scripts and stress else 1


if __name__ == "__main__":
    sys.exit(main())
