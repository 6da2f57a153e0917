"""Policies as signed bundles, on a running gate: built, signed, published, refused, rolled back."""

import shutil
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gatekeeper.adapters.bundles.store import BundleStore
from gatekeeper.signing.keys import locked
from testkit.bed import ALICE, BOB
from testkit.gate import NOT_YET, GateProcess, code, coded, detail, policy, upstream
from testkit.publishing import MALLORY, NOVAK, ORIGIN, RUIZ, bundle
from testkit.recorder import Recorder, Script
from testkit.sessions import imap_login_reply, imap_session
from testkit.waiting import eventually

PASSPHRASE = "correct horse battery"
WITHIN_S = 1.0


@pytest.fixture
def gate(
    make_gate_anywhere: Callable[..., GateProcess], stocked_store: Path, record: Callable[[Script], Recorder]
) -> GateProcess:
    """A gate that takes bundles approved by two of RUIZ and NOVAK; version 1 is published, nobody is blocked by it."""
    recorder = record(Script(accepts_all=True))
    bundles: dict[str, object] = {
        "directory": "published",
        "origin": ORIGIN,
        "threshold": 2,
        "approvers": [str(RUIZ.verifier), str(NOVAK.verifier)],
    }
    gate = make_gate_anywhere(
        {
            "upstream": {"imap": upstream(recorder.port)},
            "listener": None,
            "policy": {"bundles": bundles, "breaker": {"max_percent": 50}},  # of two people one has TikTok
        },
        policy_text=policy(NOT_YET),
    )
    gate.write_configuration(written(gate))
    shutil.copy(stocked_store, gate.store_file)
    laid(gate, 1, policy(NOT_YET))
    gate.start()
    return gate


def written(gate: GateProcess) -> dict[str, object]:
    """The configuration, with one listener."""
    imaps = {"name": "imaps", "protocol": "imap", "bind": f"127.0.0.1:{gate.ports.imaps}", "tls": "implicit"}
    return {**gate.configuration, "listener": [imaps]}


def laid(gate: GateProcess, version: int, text: str) -> None:
    """Put a good bundle into the store without the command line, which costs a process."""
    BundleStore(gate.directory / "published").publish(version, bundle(version, text).encode())


def in_force(gate: GateProcess, version: int, text: str) -> None:
    """The same on a running gate, until it has it in force."""
    laid(gate, version, text)
    gate.wait_for_record(lambda one: code(one) == "GK3002I" and detail(one).get("policy_version") == version)


def publishing(gate: GateProcess, version: int, text: str) -> str:
    """Publish by the command line; what it says on stdout, or on stderr when it is refused."""
    path = gate.directory / f"{version}-{time.monotonic_ns()}.bundle"
    path.write_bytes(bundle(version, text).encode())
    done = gate.cli("policy", "publish", str(path))
    return done.stdout if done.returncode == 0 else done.stderr


def metric(gate: GateProcess, line: str) -> bool:
    """Whether `/metrics` has such a line."""
    return line in gate.get("/metrics").body.decode().splitlines()


def refusals(gate: GateProcess) -> list[object]:
    """Why bundles were refused so far, of the audit log."""
    return [detail(one)["flaw"] for one in coded(gate.audit_records(), "GK3004W")]


def test_a_policy_goes_its_whole_way(gate: GateProcess, context: ssl.SSLContext) -> None:
    """Built by its author, signed by two approvers, published: in force within a second, on open sessions as well."""
    for signer in (RUIZ, NOVAK):
        (gate.directory / f"{signer.name}.key").write_bytes(locked(signer, PASSPHRASE.encode()))
    (gate.directory / "passphrase").write_text(PASSPHRASE)
    gate.replace_policy(policy())
    bob = imap_session(gate.ports.imaps, context, BOB)
    built = gate.cli("policy", "build", "--author", "w.author", "--reason", "Directive 7", "-o", "next.bundle")
    assert built.stdout.startswith(f"{ORIGIN}\n2\nsha256:"), built.stderr

    assert "approved by nobody" in gate.cli("policy", "publish", "next.bundle").stderr
    for signer in (RUIZ, NOVAK):
        key = ["--key", f"{signer.name}.key", "--passphrase-file", "passphrase"]
        signed = gate.cli("policy", "sign", "next.bundle", *key)
        assert (signed.returncode, signed.stdout) == (0, built.stdout), signed.stderr
    changes = gate.cli("policy", "diff", "1", "next.bundle").stdout
    assert changes.startswith("~ rule no-tiktok\n--- before/policy.toml\n")
    done = gate.cli("policy", "publish", "next.bundle")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "version 2: published, approved by a.ruiz, i.novak"
    assert "version 2: in force" in done.stdout
    bob.rest(within=5)
    bob.close()
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE] Mail is paused: TikTok")
    record = gate.wait_for_record(lambda one: code(one) == "GK3001I" and detail(one)["policy_version"] == 2)
    assert detail(record)["author"] == "w.author"
    assert detail(record)["approved_by"] == "a.ruiz i.novak"
    assert detail(record)["reason"] == "Directive 7"
    shown = gate.cli("policy", "status").stdout
    assert "version    2" in shown
    assert "a.ruiz i.novak" in shown


@pytest.mark.parametrize("workers", [1, 2])
def test_a_publication_is_in_force_within_a_second(gate: GateProcess, context: ssl.SSLContext, workers: int) -> None:
    """On every worker, from the moment at which it is in the store: the sessions that it forbids are over then."""
    if workers > 1:
        gate.stop()
        server = {**gate.configuration["server"], "workers": workers}
        gate.write_configuration({**written(gate), "server": server})
        gate.start()
    sessions = [imap_session(gate.ports.imaps, context, BOB) for _ in range(8 * workers)]
    target = gate.directory / "published" / "0000000002.bundle"
    aside = gate.directory / "aside"
    aside.write_bytes(bundle(2, policy()).encode())
    aside.rename(target)
    since = time.monotonic()
    for session in sessions:
        session.rest(within=5)
    took = time.monotonic() - since
    for session in sessions:
        session.close()

    assert took < WITHIN_S


def test_what_must_not_come_into_force_changes_nothing(gate: GateProcess, context: ssl.SSLContext) -> None:
    """Refused by `publish`, and by the gate when somebody lays it into the store: told everywhere, and still ready."""
    cases = {
        "signature": bundle(5, policy(), by=(RUIZ, MALLORY)),
        "schema": bundle(6, "schema = 2"),
        "origin": bundle(7, policy(), origin="other.example/policy"),
    }
    for number, (flaw, made) in enumerate(cases.items(), start=1):
        version = made.statement.version
        path = gate.directory / f"{flaw}.bundle"
        path.write_bytes(made.encode())
        done = gate.cli("policy", "publish", str(path))
        assert done.returncode == 1
        assert "not published; the policy in force stays" in done.stderr
        assert not (gate.directory / "published" / f"{version:010}.bundle").exists()
        shutil.copy(path, gate.directory / "published" / ".copy")
        (gate.directory / "published" / ".copy").rename(gate.directory / "published" / f"{version:010}.bundle")
        line = f'gatekeeper_policy_bundle_errors_total{{flaw="{flaw}"}} 2.0'
        eventually(lambda line=line: metric(gate, line), within=15, what=gate.log)
        expected = [name for name in list(cases)[:number] for _ in range(2)]
        eventually(lambda expected=expected: refusals(gate) == expected, within=15, what=lambda: str(refusals(gate)))
    assert gate.get("/readyz").status == 200
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"OK")
    assert "REFUSED" in gate.cli("policy", "status").stdout

    in_force(gate, 8, policy())
    assert "not newer than version 8" in publishing(gate, 8, policy(NOT_YET))
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO")
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")


def test_a_rollback_is_a_new_version(gate: GateProcess, context: ssl.SSLContext) -> None:
    """With the old content, signed like every other; on record as what it is."""
    in_force(gate, 2, policy())
    made = gate.cli("policy", "rollback", "--to", "1", "--author", "w.author", "--reason", "typo", "-o", "back.bundle")
    assert made.returncode == 0, made.stderr
    assert "reason rollback to 1: typo" in made.stdout
    (gate.directory / "passphrase").write_text(PASSPHRASE)
    for signer in (RUIZ, NOVAK):
        (gate.directory / f"{signer.name}.key").write_bytes(locked(signer, PASSPHRASE.encode()))
        key = ["--key", f"{signer.name}.key", "--passphrase-file", "passphrase"]
        assert gate.cli("policy", "sign", "back.bundle", *key).returncode == 0

    assert "version 3: in force" in gate.cli("policy", "publish", "back.bundle").stdout
    record = gate.wait_for_record(lambda one: code(one) == "GK3003I")
    assert (detail(record)["policy_version"], detail(record)["rollback_to"]) == (3, 1)
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"OK")


def test_a_restart_never_takes_an_older_version(gate: GateProcess, context: ssl.SSLContext) -> None:
    """Though the newer one is gone from the store; a newer one than that helps."""
    in_force(gate, 2, policy())
    (gate.directory / "published" / "0000000002.bundle").unlink()
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO")
    gate.stop()
    gate.start(ready=False)
    assert gate.wait(60) == 78
    assert "version 1 is older than 2, which was in force here" in gate.log()

    laid(gate, 3, policy())
    gate.start()
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO")
    gate.stop()
