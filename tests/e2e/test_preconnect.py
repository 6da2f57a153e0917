"""Connections made ahead of their log-ins, with real servers: mail goes as ever, and nobody gets another's session."""

import ssl
from collections.abc import Callable

import pytest

from testkit.bed import ALICE, BOB, SPARE
from testkit.dovecot import Dovecot, User
from testkit.gate import GateProcess, code, upstream
from testkit.inventory import device
from testkit.postfix import Postfix
from testkit.sessions import imap_login_reply, imap_session, smtp_login_reply, smtp_session
from testkit.tls import Authority
from testkit.waiting import eventually

WRONG = User(ALICE.login, "guess")


def _used(gate: GateProcess, listener: str) -> int:
    wanted = f'gatekeeper_preconnects_total{{listener="{listener}",outcome="used"}} '
    (line,) = [line for line in gate.get("/metrics").body.decode().splitlines() if line.startswith(wanted)]
    return int(float(line.removeprefix(wanted)))


@pytest.mark.parametrize("mode", ["off", "starttls", "implicit"])
def test_log_ins_that_follow_each_other(
    make_gate: Callable[..., GateProcess],
    dovecot: Dovecot,
    postfix: Postfix,
    servers_ca: Authority,
    context: ssl.SSLContext,
    mode: str,
) -> None:
    """Everybody reads and sends as who they are, over Dovecot and Postfix; refusals and guesses stay what they are."""
    imap = {"off": dovecot.imap_port, "starttls": dovecot.imap_port, "implicit": dovecot.imaps_port}[mode]
    smtp = {"off": postfix.clear_port, "starttls": postfix.submission_port, "implicit": postfix.submissions_port}[mode]
    ca = None if mode == "off" else servers_ca.ca_file
    tables = {
        "imap": upstream(imap, mode=mode, ca=ca) | {"client_address": "id"},
        "smtp": upstream(smtp, mode=mode, ca=ca) | {"client_address": "xclient"},
    }
    gate = make_gate({"upstream": tables})
    gate.register(*(device(f"ahead-{number}", user.login) for number, user in enumerate(SPARE)))

    def everybody_reads() -> bool:
        for user in SPARE[:4]:
            session = imap_session(gate.ports.imaps, context, user)
            assert session.imap(b"n GETQUOTAROOT INBOX")[-1].startswith(b"n ")
            session.close()
        return _used(gate, "imaps") >= 2

    def everybody_sends() -> bool:
        for user in SPARE[:4]:
            session = smtp_session(gate.ports.submissions, context, user)
            assert session.smtp(b"MAIL FROM:<" + user.login.encode() + b">")[-1].startswith(b"250 ")
            assert session.smtp(b"RCPT TO:<" + ALICE.login.encode() + b">")[-1].startswith(b"250 ")
            session.close()
        return _used(gate, "submissions") >= 2

    eventually(everybody_reads, within=20, what="log-ins over connections that were there")
    eventually(everybody_sends, within=20, what="log-ins over connections that were there")
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE] ")
    assert imap_login_reply(gate.ports.imaps, context, WRONG).startswith(b"NO [AUTHENTICATIONFAILED]")
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
    assert smtp_login_reply(gate.ports.submissions, context, BOB).startswith(b"535 5.7.1")
    assert smtp_login_reply(gate.ports.submissions, context, WRONG).startswith(b"535 5.7.8")
    assert smtp_login_reply(gate.ports.submissions, context, ALICE).startswith(b"235")
    assert not [one for one in gate.audit_records() if code(one) == "GK1007E"]
