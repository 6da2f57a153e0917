"""`gatekeeper policy test`: the tests that stand beside a policy, what they cover, and what they would not notice."""

from collections.abc import Sequence
from pathlib import Path

import click

from gatekeeper.cli.named import InputFile, named_octets
from gatekeeper.cli.words import EXIT_FAILED, EXIT_INCOMPLETE, fail, identity_settings, load_settings, say_json
from gatekeeper.decision.cases import MAX_OCTETS, Cases, read_cases
from gatekeeper.decision.trial import Trial, run
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.server.policy_source import load_policy

SUFFIX = ".test.toml"


@click.command()
@click.argument("files", nargs=-1, type=InputFile(allow_directory=True))
@click.option("--policy", "policy_file", type=InputFile(), help="Test this policy, whatever they name.")
@click.option("--min-coverage", type=click.IntRange(0, 100), default=0, help="Percent of rules x phases; less fails.")
@click.option("--mutation/--no-mutation", default=True, help="Also drop each rule in turn: some test must fail then.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def test(
    config_path: Path,
    files: tuple[Path, ...],
    policy_file: Path | None,
    *,
    min_coverage: int,
    mutation: bool,
    as_json: bool,
) -> None:
    """Run tests of policies (default: every *.test.toml beside the configured policy; of a directory: all in it).

    NAME.test.toml tests NAME.toml beside it, unless it names another `policy`. Exit code 0: all passed and would
    notice if a rule were dropped; 1: not; 3: there is no test.

    \b
    Examples:
      gatekeeper policy test
      gatekeeper policy test config/policy.test.toml --min-coverage 100
    """  # noqa: D301  click's paragraph mark
    names = identity_settings(config_path)
    given = files or ((policy_file or load_settings(config_path).policy_file).parent,)
    found = [test for path in given for test in (_in(path) if path.is_dir() else [path])]
    if not found:
        fail(f"there is no test: write a NAME{SUFFIX} beside the policy", code=EXIT_INCOMPLETE)
    by_policy, faults = _grouped(found, policy_file, names)
    trials: dict[Path, Trial] = {}
    for path, sheets in by_policy.items():
        try:
            tested = load_policy(path, names)
        except DocumentError as error:
            faults += error.faults
            continue
        trials[path] = run(tested, [case for sheet in sheets for case in sheet.cases], mutate=mutation)
    if faults:
        fail(*map(str, faults), code=EXIT_FAILED)
    is_good = all(_is_good(trial, min_coverage) for trial in trials.values())
    if as_json:
        say_json({"ok": is_good, "policies": [_facts(path, trial) for path, trial in trials.items()]})
    else:
        for path, trial in trials.items():
            _tell(path, trial, min_coverage)
    raise SystemExit(0 if is_good else EXIT_FAILED)


def _in(directory: Path) -> list[Path]:
    return sorted(directory.glob(f"*{SUFFIX}"))


def _grouped(
    files: Sequence[Path], policy_file: Path | None, names: IdentitySettings
) -> tuple[dict[Path, list[Cases]], list[Fault]]:
    """The tests by the policy that they test: only together they cover it."""
    by_policy: dict[Path, list[Cases]] = {}
    faults: list[Fault] = []
    for path in files:
        try:
            sheet = _read(path, names)
        except DocumentError as error:
            faults += error.faults
            if not path.name.endswith(SUFFIX) and path.is_file():
                faults.append(Fault(str(path), "", f"is no file of tests: those of it stand in {path.stem}{SUFFIX}"))
            continue
        named = path.parent / (sheet.policy or f"{path.name.removesuffix(SUFFIX)}.toml")
        by_policy.setdefault(policy_file or named, []).append(sheet)
    return by_policy, faults


def _read(path: Path, names: IdentitySettings) -> Cases:
    return read_cases(named_octets(path, MAX_OCTETS), source=str(path), names=names)


def _is_good(trial: Trial, min_coverage: int) -> bool:
    return not trial.failed and not trial.unmissed and trial.coverage >= min_coverage


def _tell(path: Path, trial: Trial, min_coverage: int) -> None:
    for outcome in trial.failed:
        click.echo(f"FAILED {outcome.case.place} ({outcome.case.name})")
        for difference in outcome.differences:
            click.echo(f"  {difference}")
    for rule in trial.unmissed:
        click.echo(f"NOT NOTICED: without rule {rule} every test still passes")
    for rule, phase in trial.unreached:
        click.echo(f"not covered: rule {rule} in its phase {phase}")
    if trial.coverage < min_coverage:
        click.echo(f"FAILED coverage: {trial.coverage} % of rules x phases, at least {min_coverage} % wanted")
    passed = len(trial.outcomes) - len(trial.failed)
    click.echo(
        f"{path}: {passed} of {len(trial.outcomes)} tests passed; rules x phases covered:"
        f" {len(trial.reachable) - len(trial.unreached)} of {len(trial.reachable)} ({trial.coverage} %)"
    )


def _facts(path: Path, trial: Trial) -> dict[str, object]:
    return {
        "policy": str(path),
        "tests": [
            {
                "name": outcome.case.name,
                "place": outcome.case.place,
                "passed": not outcome.differences,
                "differences": list(outcome.differences),
            }
            for outcome in trial.outcomes
        ],
        "coverage_percent": trial.coverage,
        "not_covered": [{"rule": rule, "phase": phase.value} for rule, phase in trial.unreached],
        "not_noticed": list(trial.unmissed),
    }
