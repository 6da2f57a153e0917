"""People who are moved in a directory, OpenLDAP, while their mail sessions are open, through a gate of two workers."""

import json
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testkit import slapd as slapd_server
from testkit.bed import ALICE, BOB
from testkit.dovecot import Dovecot
from testkit.gate import ENFORCED, GateProcess, coded, policy, upstream
from testkit.postfix import Postfix
from testkit.sessions import imap_login_reply, imap_session
from testkit.slapd import Slapd, group, ldap_settings, person
from testkit.tls import Authority, KeyPair
from testkit.waiting import eventually

REFRESH_S = 1.0
WITHIN_S = REFRESH_S + 4
"""From the change in the directory: a refresh, a look at the answer, a cut, on a busy machine."""
GROUPS = '[groups]\npress = { directory = "press" }\n'
POLICY = (
    policy(ENFORCED)
    .replace("[[rule]]", f"{GROUPS}\n[[rule]]", 1)
    .replace('scope  = { device_class = ["mobile"] }', 'scope  = { device_class = ["mobile"], not_groups = ["press"] }')
)


@pytest.fixture
def slapd(mail_certificate: KeyPair, devices_ca: Authority) -> Iterator[Slapd]:
    """A directory in which BOB, whose phone has TikTok, is of the press."""
    if slapd_server.PROGRAM is None:
        pytest.skip("slapd is not installed")
    server = Slapd(mail_certificate, devices_ca, person("alice") + person("bob") + group("press", "bob"))
    yield server
    server.stop()


def test_who_is_moved_is_cut_and_let_in_again(  # noqa: PLR0917  a directory, a mail server, a gate
    make_gate: Callable[..., GateProcess],
    dovecot: Dovecot,
    postfix: Postfix,
    slapd: Slapd,
    servers_ca: Authority,
    context: ssl.SSLContext,
    tmp_path: Path,
) -> None:
    """Within the refresh; a directory that is away changes nothing, also for a gate that starts meanwhile."""
    ldap = ldap_settings(slapd, servers_ca.ca_file, tmp_path / "password")
    gate = make_gate(
        {
            "server": {"workers": 2},
            "upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)},
            "groups": {"refresh": f"{int(REFRESH_S)}s", "ldap": dict(ldap)},
        },
        policy_text=POLICY,
    )
    alice = imap_session(gate.ports.imaps, context, ALICE)
    bobs = [imap_session(gate.ports.imaps, context, BOB) for _ in range(4)]
    kept = gate.directory / "state" / "groups.json"
    eventually(kept.exists, within=WITHIN_S)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_bytes())["members"] == {"press": [BOB.login]}

    slapd.put_in("press")
    since = time.monotonic()
    for wire in bobs:
        wire.rest(within=WITHIN_S)
        wire.close()
    assert time.monotonic() - since < WITHIN_S
    eventually(lambda: len(coded(gate.audit_records(), "GK1101W")) == len(bobs), within=15)

    def is_let_in() -> list[bool]:
        """Whether BOB is, by many log-ins: each worker takes the change in by itself, and may have had no session."""
        return [imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"OK") for _ in range(12)]

    eventually(lambda: not any(is_let_in()), within=WITHIN_S)
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")
    assert alice.imap(b"alive NOOP")[-1].startswith(b"alive OK")
    alice.close()

    slapd.put_in("press", "bob")
    eventually(lambda: all(is_let_in()), within=WITHIN_S)
    replay = gate.cli("audit", "replay", "--json")
    assert json.loads(replay.stdout)["different"] == 0, replay.stdout
    assert json.loads(replay.stdout)["not_performed"] == {}, replay.stdout

    slapd.pause()
    gate.wait_for_record(lambda record: bool(coded([record], "GK3040W")), within=WITHIN_S)
    assert gate.is_ready()
    assert "the directory of groups does not answer since" in gate.get("/readyz?verbose").body.decode()
    assert b"gatekeeper_groups_directory_up 0.0" in gate.get("/metrics").body
    gate.stop()
    gate.start()
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"OK")
    eventually(lambda: len(coded(gate.audit_records(), "GK3040W")) == 2, within=WITHIN_S)
    slapd.start()
    gate.wait_for_record(lambda record: bool(coded([record], "GK3041I")), within=WITHIN_S)
