"""No sequence of publications, good or bad, lowers the version or puts in force what was not approved."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.adapters.bundles.store import BundleStore, VersionTaken
from gatekeeper.config.settings import BundleSettings
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import DEFAULT
from gatekeeper.publishing.breaker import BreakerSettings
from gatekeeper.server.publications import Publications
from testkit.publishing import MALLORY, NOVAK, RUIZ, approvers, bundle, policy_text

STEP = st.fixed_dictionaries(
    {
        "version": st.integers(1, 12),
        "by": st.lists(st.sampled_from([RUIZ, NOVAK, MALLORY]), max_size=3),
        "author": st.sampled_from(["w.author", "a.ruiz"]),
        "text": st.sampled_from([policy_text(), policy_text(a="com.a"), "schema = 2", "rubbish ["]),
        "how": st.sampled_from(["publish", "publish", "drop in", "cut", "swap", "remove newest", "restart"]),
    }
)


def is_good(step: dict[str, object]) -> bool:
    """Two approvers besides the author, and a policy that compiles; counted here by hand."""
    names = {key.name for key in step["by"]} & {"a.ruiz", "i.novak"} - {step["author"]}
    return len(names) >= 2 and str(step["text"]).startswith("schema = 1")


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
        highest = 1
        for step in steps:
            digest = put(store, step)
            if digest is not None:
                good.add((int(step["version"]), digest))
            if step["how"] == "restart":
                again = Publications(bundles, DEFAULT, place)
                try:
                    again.start()
                except DocumentError:
                    continue  # nobody is served by an older one; the process that runs keeps its own
                gate = again
            gate.look()
            accepted = gate.accepted
            assert accepted is not None
            assert accepted.statement.version >= highest
            assert (accepted.statement.version, accepted.statement.digest) in good
            highest = accepted.statement.version
