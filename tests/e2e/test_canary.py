"""A new policy reaches a share of the devices first: hundreds of phones log in while it goes wrong, or well."""

import ssl
from collections.abc import Callable, Iterable

import pytest

from gatekeeper.adapters.bundles.store import BundleStore
from gatekeeper.publishing.rollout import covers
from testkit.dovecot import User
from testkit.gate import GateProcess, code, coded, detail, upstream
from testkit.inventory import device
from testkit.publishing import NOVAK, ORIGIN, RUIZ, bundle, policy_text
from testkit.recorder import Recorder, Script
from testkit.sessions import imap_login_reply, imap_session
from testkit.waiting import eventually

PEOPLE = tuple(User(f"phone{number:03}@example.com", "secret") for number in range(300))
GOOD, TYPO = policy_text(no_chat="com.chat"), policy_text(no_chat="com.*")
SHARE = 10

MakeGate = Callable[..., GateProcess]


@pytest.fixture
def served(make_gate_anywhere: MakeGate, record: Callable[[Script], Recorder]) -> Callable[..., GateProcess]:
    """Return a maker of gates with a canary, version 1 in force, and a phone for each of PEOPLE."""
    recorder = record(Script(accepts_all=True))

    def make(*, workers: int = 1, **canary: object) -> GateProcess:
        bundles = {
            "directory": "published",
            "origin": ORIGIN,
            "threshold": 2,
            "approvers": [str(RUIZ.verifier), str(NOVAK.verifier)],
        }
        gate = make_gate_anywhere(
            {
                "server": {"workers": workers},
                "upstream": {"imap": upstream(recorder.port)},
                "policy": {"bundles": bundles, "canary": canary},
            }
        )
        imaps = {"name": "imaps", "protocol": "imap", "bind": f"127.0.0.1:{gate.ports.imaps}", "tls": "implicit"}
        gate.write_configuration({**gate.configuration, "listener": [imaps]})
        publish(gate, 1, GOOD)
        gate.import_inventory(*(device(f"ph-{number}", user.login) for number, user in enumerate(PEOPLE)))
        gate.start()
        return gate

    return make


def publish(gate: GateProcess, version: int, text: str) -> None:
    """Put a bundle into the store: forced past the breaker, let us say."""
    BundleStore(gate.directory / "published").publish(version, bundle(version, text).encode())


def blocked(gate: GateProcess, context: ssl.SSLContext, people: Iterable[User]) -> set[str]:
    """Log in as everybody; who is refused. Nobody is told anything else than a refusal by policy or OK."""
    refused = set()
    for user in people:
        reply = imap_login_reply(gate.ports.imaps, context, user)
        assert reply.startswith((b"OK", b"NO [UNAVAILABLE] Mail is paused")), reply
        if reply.startswith(b"NO"):
            refused.add(user.login)
    return refused


def reached(gate: GateProcess, version: int, percent: int) -> None:
    """Wait until a version has come so far."""
    gate.wait_for_record(
        lambda one: (
            code(one) == "GK3006I" and (detail(one)["policy_version"], detail(one)["percent"]) == (version, percent)
        )
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_typo_never_blocks_more_than_the_share(
    served: Callable[..., GateProcess], context: ssl.SSLContext, workers: int
) -> None:
    """`com.*` means an app on every phone: the share is refused, the rollout halts itself, and all have mail again."""
    gate = served(workers=workers, steps=[SHARE, 50], step_time="1h", min_sample=20, band=10)
    assert blocked(gate, context, PEOPLE[:20]) == set()
    share = {user.login for user in PEOPLE if covers(2, SHARE, user.login)}
    assert 20 < len(share) < 45
    quiet = next(user for user in PEOPLE if user.login not in share)
    open_session = imap_session(gate.ports.imaps, context, quiet)

    publish(gate, 2, TYPO)
    reached(gate, 2, SHARE)
    refused = blocked(gate, context, PEOPLE)

    assert refused <= share
    assert len(refused) >= 20
    halted = gate.wait_for_record(lambda one: code(one) == "GK3007W")
    assert "`no-chat` blocks more than it may" in detail(halted)["reason"]
    assert (detail(halted)["policy_version"], detail(halted)["last_good_version"]) == (2, 1)
    # Halted is what one worker found; the other follows.
    eventually(lambda: not blocked(gate, context, (one for one in PEOPLE if one.login in share)), within=15)
    assert blocked(gate, context, PEOPLE) == set()
    assert open_session.imap(b"alive NOOP")[-1].startswith(b"alive OK")
    open_session.close()
    assert b"gatekeeper_policy_rollouts_halted_total 1.0" in gate.get("/metrics").body
    assert gate.get("/readyz").status == 200
    status = gate.cli("policy", "status").stdout
    assert "NOBODY: halted, version 1 rules for everybody" in status
    assert "`no-chat` blocks more than it may" in status


def test_a_good_version_comes_to_everybody_in_steps(
    served: Callable[..., GateProcess], context: ssl.SSLContext
) -> None:
    """Each step wants its time and its sample; a halted version before it is left behind."""
    gate = served(steps=[20, 60], step_time="1s", min_sample=20, band=10)
    publish(gate, 2, TYPO)
    reached(gate, 2, 20)
    blocked(gate, context, PEOPLE)
    gate.wait_for_record(lambda one: code(one) == "GK3007W")

    publish(gate, 3, policy_text(no_chat="com.chat", no_game="com.game"))
    for percent in (20, 60):
        reached(gate, 3, percent)
        assert blocked(gate, context, PEOPLE[:200]) == set()
    gate.wait_for_record(lambda one: code(one) == "GK3002I" and detail(one).get("policy_version") == 3)
    percents = [detail(one)["percent"] for one in coded(gate.audit_records(), "GK3006I")]
    assert percents == [20, 20, 60]
    eventually(lambda: b"gatekeeper_policy_version 3.0" in gate.get("/metrics").body, within=15, what=gate.log)


def test_a_restart_keeps_the_share(served: Callable[..., GateProcess], context: ssl.SSLContext) -> None:
    """The same phones are refused after it, and no others."""
    gate = served(steps=[SHARE], step_time="1h", min_sample=200)
    publish(gate, 2, TYPO)
    reached(gate, 2, SHARE)
    share = {user.login for user in PEOPLE[:100] if covers(2, SHARE, user.login)}
    assert blocked(gate, context, PEOPLE[:100]) == share
    gate.stop()
    gate.start()

    assert blocked(gate, context, PEOPLE[:100]) == share
