"""Signed evidence over the admin port: it changes who may read mail at once, and what is wrong with it changes nothing."""

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.agents import AUDIENCE, MEDIA_TYPE, NOTES_APP, TIKTOK_APP, Agents, now
from testkit.bed import ALICE_PHONE, BOB, BOB_PHONE
from testkit.dovecot import Dovecot
from testkit.evidence import AttestationAuthority
from testkit.gate import GateProcess, Record, code, detail, upstream
from testkit.postfix import Postfix
from testkit.sessions import imap_login_reply, imap_session, smtp_login_reply
from testkit.waiting import eventually

MAIL_WITHIN_S = 1.0
CUT_WITHIN_S = 2.0

Bed = tuple[GateProcess, Agents]


@pytest.fixture
def bed(make_gate: Callable[..., GateProcess], dovecot: Dovecot, postfix: Postfix, tmp_path: Path) -> Bed:
    """Run a gate that trusts the company's agents."""
    agents = Agents(tmp_path)
    gate = make_gate(
        {
            "upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)},
            "evidence": agents.configuration(),
        }
    )
    return gate, agents


def test_new_evidence_opens_and_closes_the_mail(bed: Bed, context: ssl.SSLContext) -> None:
    """BOB removes the app: mail works within a second. It comes back: his open session is cut within two."""
    gate, agents = bed
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")
    answer = agents.report(gate, BOB_PHONE)
    since = time.monotonic()
    assert answer.status == 200, answer
    assert answer.json()["posture"] == "clean"

    eventually(
        lambda: imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"OK"), within=MAIL_WITHIN_S, what="mail"
    )
    assert time.monotonic() - since < MAIL_WITHIN_S
    assert smtp_login_reply(gate.ports.submissions, context, BOB).startswith(b"235")
    session = imap_session(gate.ports.imaps, context, BOB)
    answer = agents.report(gate, BOB_PHONE, TIKTOK_APP)
    since = time.monotonic()
    assert (answer.status, answer.json()["posture"]) == (200, "denied")
    session.rest(within=CUT_WITHIN_S + 3)
    assert time.monotonic() - since < CUT_WITHIN_S
    session.close()
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")
    gate.wait_for_record(lambda one: code(one) == "GK4010I")


def test_a_token_counts_once(bed: Bed, context: ssl.SSLContext) -> None:
    """An old clean token, posted again after the app came back, is refused with 409 and changes nothing."""
    gate, agents = bed
    token = agents.token(gate, BOB_PHONE)
    assert agents.post(gate, token).status == 200
    assert agents.report(gate, BOB_PHONE, TIKTOK_APP).status == 200

    answer = agents.post(gate, token)
    assert answer.status == 409
    assert answer.json()["error"] == "replay"
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")
    gate.wait_for_record(_rejected("replay"))


def _rejected(reason: str) -> Callable[[Record], bool]:
    return lambda one: code(one) == "GK4011W" and reason in str(detail(one)) + str(one)


def _wrong_signature(gate: GateProcess, agents: Agents) -> bytes:
    token = agents.token(gate, BOB_PHONE).decode()
    head, body, signature = token.split(".")
    return f"{head}.{body}.{signature[:10]}{'A' if signature[10] != 'A' else 'B'}{signature[11:]}".encode()


def _foreign_ca(gate: GateProcess, agents: Agents) -> bytes:
    nonce = agents.nonce(gate, BOB_PHONE)
    return AttestationAuthority(now()).token(BOB_PHONE, [NOTES_APP], nonce, AUDIENCE, now()).encode()


def _other_audience(gate: GateProcess, agents: Agents) -> bytes:
    nonce = agents.nonce(gate, BOB_PHONE)
    return agents.authority.token(BOB_PHONE, [NOTES_APP], nonce, "elsewhere.example", now()).encode()


def _nonce_of_another(gate: GateProcess, agents: Agents) -> bytes:
    nonce = agents.nonce(gate, ALICE_PHONE)
    return agents.authority.token(BOB_PHONE, [NOTES_APP], nonce, AUDIENCE, now()).encode()


def _garbage(_gate: GateProcess, _agents: Agents) -> bytes:
    return b"not.a.token"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (_wrong_signature, "sig-invalid"),
        (_foreign_ca, "chain-invalid"),
        (_other_audience, "aud-mismatch"),
        (_nonce_of_another, "nonce-invalid"),
        (_garbage, "malformed"),
    ],
    ids=["signature", "foreign-ca", "audience", "nonce", "garbage"],
)
def test_bad_evidence_says_why_and_changes_nothing(
    bed: Bed, context: ssl.SSLContext, make: Callable[[GateProcess, Agents], bytes], error: str
) -> None:
    """Each kind of bad token gets its code, leaves BOB refused, and is recorded with the reason."""
    gate, agents = bed
    answer = agents.post(gate, make(gate, agents))

    assert answer.status in (400, 401, 403, 409), answer
    assert answer.json()["error"] == error
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")
    gate.wait_for_record(_rejected(error))


def test_other_media_types_and_huge_bodies_are_refused(bed: Bed) -> None:
    """What is not a token is refused by its type or its announced size."""
    gate, agents = bed

    assert gate.post("/v1/evidence", b"{}", "application/json").status == 415
    assert gate.post("/v1/evidence", b"a" * 300_000, MEDIA_TYPE).status == 413
    assert agents.report(gate, ALICE_PHONE).status == 200
