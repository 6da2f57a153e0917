"""No sequence of publications, good or bad, lowers the version or puts in force what was not approved."""

import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.adapters.bundles.store import BundleStore, VersionTaken
from gatekeeper.config.settings import BundleSettings
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import DEFAULT
from gatekeeper.publishing.breaker import BreakerSettings
from gatekeeper.publishing.rollout import RolloutSettings
from gatekeeper.server.publications import Publications
from gatekeeper.server.rollouts import Rollouts
from testkit.audit_log import StandingClock
from testkit.publishing import CREATED, MALLORY, NOVAK, RUIZ, approvers, bundle, policy_text

STEP = st.fixed_dictionaries(
    {
        "version": st.integers(1, 12),
        "by": st.sampled_from([(RUIZ, NOVAK), (NOVAK, RUIZ), (NOVAK, MALLORY, RUIZ), (RUIZ,), (RUIZ, MALLORY), ()]),
        "author": st.sampled_from(["w.author", "w.author", "a.ruiz"]),
        "text": st.sampled_from([policy_text(), policy_text(a="com.a"), policy_text(b="com.b"), "schema = 2"]),
        "seen": st.integers(0, 9),
        "blocks": st.booleans(),
        "how": st.sampled_from(["publish", "publish", "drop in", "cut", "swap", "remove newest", "restart"]),
    }
)


def is_good(step: dict[str, object]) -> bool:
    """Two approvers besides the author, and a policy that compiles; counted here by hand."""
    names = {key.name for key in step["by"]} & {"a.ruiz", "i.novak"} - {step["author"]}
    return len(names) >= 2 and str(step["text"]).startswith("schema = 1")


def resumed(gate: Publications, place: Path) -> Rollouts:
    """The rollouts of a gate that has just started."""
    canary = RolloutSettings(steps=(5, 50), step_time=timedelta(0), min_sample=5)
    rollouts = Rollouts(canary, gate, place, StandingClock(CREATED), worker="w")
    rollouts.resume()
    return rollouts


def put(store: BundleStore, step: dict[str, object]) -> str | None:
    """Lay a bundle into the directory in one of the ways there are; the digest when it is there and good."""
    version = int(step["version"])
    made = bundle(version, str(step["text"]), by=tuple(step["by"]), author=str(step["author"]))
    path = store.directory / f"{version:010}.bundle"
    if step["how"] == "publish":
        try:
            store.publish(version, made.encode())
        except VersionTaken:
            return None
    elif step["how"] == "drop in" and not path.exists():
        path.write_bytes(made.encode())
    else:
        if step["how"] == "cut" and not path.exists():
            path.write_bytes(made.encode()[: len(made.encode()) // 2])
        elif step["how"] == "swap" and not path.exists():
            path.write_bytes(bundle(version % 12 + 1).encode())
        elif step["how"] == "remove newest":
            (store.directory / f"{max(store.versions(), default=0):010}.bundle").unlink(missing_ok=True)
        return None
    return made.statement.digest if is_good(step) else None


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=12))
def test_the_version_in_force_never_falls_and_is_always_approved(steps: list[dict[str, object]]) -> None:
    """Whatever lies in the directory: published, dropped in, cut short, swapped, removed; and across restarts."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        bundles = BundleSettings(
            directory=place / "policy", approvers=approvers(), breaker=BreakerSettings(), canary=None
        )
        store = BundleStore(bundles.directory)
        store.publish(1, bundle(1).encode())
        good = {(1, bundle(1).statement.digest)}
        gate = Publications(bundles, DEFAULT, place)
        gate.start()
        rollouts = resumed(gate, place)
        highest, ruled = 1, 1
        for step in steps:
            digest = put(store, step)
            if digest is not None:
                good.add((int(step["version"]), digest))
            if step["how"] == "restart":
                again = Publications(bundles, DEFAULT, place)
                try:
                    again.start()
                    rollouts = resumed(again, place)
                except DocumentError:
                    continue  # nobody is served by an older one; the process that runs keeps its own
                gate = again
            gate.look()
            for number in range(int(step["seen"])):
                rollouts.tally.note(f"ph-{number}", ("a",) if step["blocks"] else (), CREATED, is_new=True)
            settled = rollouts.settle(*rollouts.figures())
            if settled.is_new:
                rollouts.begin_step()
            for rules in (rollouts.base, rollouts.newest):
                assert rules is not None
                assert (rules.statement.version, rules.statement.digest) in good
            assert rollouts.base is not None
            # What rules for everybody only ever rises: a rollout that halts goes back to what had never left.
            assert ruled <= rollouts.base.statement.version <= settled.rollout.version
            ruled = rollouts.base.statement.version
            accepted = gate.accepted
            assert accepted is not None
            assert accepted.statement.version >= highest
            assert (accepted.statement.version, accepted.statement.digest) in good
            highest = accepted.statement.version
