"""Every module has its tests: where their path mirrors the module's, or where this file says they are and why.

And what the tests of a directory share reaches all of them.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gatekeeper"
UNIT = ROOT / "tests" / "unit"

ELSEWHERE = {
    "__main__.py": ("tests/unit/cli/test_main.py", "runs the module as a program"),
    "adapters/groups/ldap_connection.py": ("tests/unit/adapters/groups/test_ldap.py", "asked of real servers there"),
    "adapters/groups/scim_connection.py": ("tests/unit/adapters/groups/test_scim.py", "asked of real servers there"),
    "adapters/groups/settings.py": ("tests/unit/config/test_sections_groups.py", "frozen values, made there"),
    "adapters/sinks/directory.py": ("tests/unit/adapters/sinks/test_opening.py", "what opening a log looks at"),
    "adapters/sinks/operations.py": ("tests/unit/adapters/sinks/test_file.py", "the system calls of the log"),
    "adapters/sinks/segment.py": ("tests/unit/adapters/sinks/test_reader.py", "read and written with its log"),
    "adapters/sinks/shipping/channel.py": (
        "tests/unit/adapters/sinks/shipping/test_shipper.py",
        "a protocol and its errors, met there",
    ),
    "adapters/sinks/shipping/settings.py": (
        "tests/unit/config/test_audit_remotes.py",
        "frozen values without behaviour, made there",
    ),
    "adapters/stores/outlines.py": (
        "tests/unit/adapters/stores/test_population.py",
        "what people and past are read by",
    ),
    "adapters/stores/revisions.py": ("tests/unit/adapters/stores/test_archive.py", "what the archive is given"),
    "adapters/stores/reading.py": ("tests/unit/adapters/stores/test_directory.py", "the queries behind the look-ups"),
    "attestation/rejection.py": (
        "tests/unit/attestation/test_profile.py",
        "a closed list of codes, each provoked there",
    ),
    "audit/event.py": ("tests/unit/audit/test_record.py", "frozen values without behaviour, encoded there"),
    "cli/audit_archive.py": ("tests/e2e/test_plan_and_replay.py", "what a replay takes from the archive"),
    "cli/audit_hold.py": ("tests/unit/cli/test_audit_prune.py", "what pruning has to heed"),
    "cli/audit_names.py": ("tests/unit/cli/test_audit_identity.py", "what the commands ask of the identity map"),
    "cli/audit_options.py": ("tests/unit/cli/test_audit.py", "what those commands share"),
    "cli/audit_outcome.py": ("tests/unit/cli/test_audit_registry.py", "what `audit verify` says, also there"),
    "cli/audit_replay.py": ("tests/e2e/test_plan_and_replay.py", "asked of a real log and the store beside it"),
    "cli/audit_verify.py": ("tests/unit/cli/test_audit_keys.py", "by keys there, by tampering in test_verify_audit.py"),
    "campaign/judge.py": ("tests/unit/campaign/test_rehearsal.py", "what decides in a replay"),
    "campaign/traits.py": ("tests/unit/campaign/test_classes.py", "what tells classes apart"),
    "campaign/plan.py": ("tests/unit/campaign/test_planner.py", "frozen values without behaviour, made there"),
    "cli/plan_words.py": ("tests/unit/cli/test_policy_plan.py", "what that command prints"),
    "cli/progress.py": ("tests/unit/cli/test_policy_plan.py", "a bar for people, which that command has"),
    "cli/findings.py": ("tests/unit/cli/test_doctor_groups.py", "frozen values, made there"),
    "cli/breaker.py": ("tests/unit/cli/test_policy_bundles.py", "asked by `policy publish`"),
    "cli/policy_desk.py": ("tests/unit/cli/test_policy_bundles.py", "what the commands on bundles share"),
    "cli/policy_publish.py": ("tests/unit/cli/test_policy_bundles.py", "the end of what begins there"),
    "cli/store.py": ("tests/unit/cli/test_device.py", "what the commands on the registry share"),
    "config/settings.py": ("tests/unit/config/test_sections.py", "frozen values without behaviour, made there"),
    "gate/settings.py": ("tests/unit/gate/test_admit.py", "a frozen value, used there"),
    "domain/decision.py": ("tests/unit/decision/test_decide.py", "frozen values without behaviour, made there"),
    "domain/device.py": ("tests/unit/attestation/test_inventory.py", "frozen values, made there"),
    "domain/posture.py": ("tests/unit/decision/test_judgement.py", "frozen values, weighed there"),
    "domain/request.py": ("tests/unit/decision/test_scope.py", "frozen values, matched there"),
    "ports/audit.py": ("tests/unit/adapters/sinks/test_file.py", "a protocol, held by its adapter's tests"),
    "ports/clock.py": ("tests/unit/gate/test_admit.py", "a protocol, driven there"),
    "ports/devices.py": ("tests/contracts/test_devices_port.py", "a protocol, with its contract suite"),
    "ports/population.py": ("tests/unit/adapters/stores/test_population.py", "a protocol, held by its adapter's tests"),
    "ports/groups.py": ("tests/unit/adapters/groups/test_file.py", "a protocol, held by its adapter's tests"),
    "ports/registry.py": ("tests/contracts/test_registry_port.py", "a protocol, with its contract suite"),
}
"""Module: the test file that covers it, and why it stands there."""

ON_A_WHOLE_PROCESS = {
    "config/sections": ("tests/unit/config/test_sections.py", "a file is read as a whole, all faults at once"),
    "cli/demo": ("tests/e2e/test_demo.py", "the demo is its own end-to-end test"),
    "enforcement": ("tests/unit/enforcement", "a dialogue and the flow are tested together, on both protocols"),
    "protocols": ("tests/unit/protocols", "each protocol's client and receiver in one place"),
    "server": ("tests/unit/server/composed", "a composed process in one's own"),
}
"""Package: where its modules without a mirror are covered."""


def _modules() -> list[str]:
    found = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    return sorted(str(path) for path in found if path.name != "__init__.py" and "migrations" not in path.parts)


def _has_mirror(module: str) -> bool:
    path = Path(module)
    beside = UNIT / path.parent
    stem = path.stem
    return (
        (beside / f"test_{stem}.py").is_file()
        or (beside / stem).is_dir()
        or any(beside.glob(f"test_*_{stem}.py"))
        or any(beside.glob(f"test_{stem}_*.py"))
    )


def _package_of(module: str) -> str | None:
    return next((package for package in ON_A_WHOLE_PROCESS if module.startswith(f"{package}/")), None)


def test_every_module_has_a_test_file() -> None:
    """A new module comes with its tests, or with a line here that says where they are."""
    lost = [
        module
        for module in _modules()
        if not _has_mirror(module) and module not in ELSEWHERE and _package_of(module) is None
    ]
    assert lost == []


def test_what_is_said_to_be_elsewhere_is_there() -> None:
    """The lists only shrink: no line for what is gone, or has got its mirror."""
    modules = _modules()
    for module, (place, reason) in ELSEWHERE.items():
        assert module in modules, f"{module} is gone"
        assert (ROOT / place).is_file(), f"{module} is said to be covered by {place}"
        assert reason
    for package, (place, reason) in ON_A_WHOLE_PROCESS.items():
        assert any(module.startswith(f"{package}/") for module in modules), f"{package} is gone"
        assert (ROOT / place).exists(), f"{package} is said to be covered by {place}"
        assert reason
    mirrored = [module for module in ELSEWHERE if _has_mirror(module)]
    assert mirrored == []


def _shared_by_all(conftest: Path) -> Iterator[str]:
    """The names of the fixtures there that nobody has to ask for."""
    for node in ast.parse(conftest.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = [keyword for mark in node.decorator_list for keyword in getattr(mark, "keywords", ())]
            if any(keyword.arg == "autouse" for keyword in marks):
                yield node.name


def test_what_a_directory_shares_takes_nothing_from_it() -> None:
    """A fixture of the same name further down is one in its place: whoever does not ask for it would never know."""
    shared = {conftest.parent: set(_shared_by_all(conftest)) for conftest in (ROOT / "tests").rglob("conftest.py")}
    hidden = [
        f"{directory.relative_to(ROOT)}: {name}"
        for directory, names in shared.items()
        for above in directory.parents
        for name in names & shared.get(above, set())
    ]
    assert any(shared.values())
    assert hidden == []
