"""`gatekeeper policy`: what is asked of a policy, and the commands by which one comes into force."""

import dataclasses
import os
from datetime import datetime
from pathlib import Path

import click

from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.cli import directory
from gatekeeper.cli.break_glass import break_glass
from gatekeeper.cli.named import InputFile
from gatekeeper.cli.policy_bundles import build, diff, rollback, sign
from gatekeeper.cli.policy_keys import key
from gatekeeper.cli.policy_plan import plan
from gatekeeper.cli.policy_publish import publish, status
from gatekeeper.cli.policy_tests import SUFFIX, test
from gatekeeper.cli.store import in_registry, store_option
from gatekeeper.cli.why import PAGE, instant, why
from gatekeeper.cli.words import EXIT_FAILED, counted, fail, identity_settings, load_settings, say_json
from gatekeeper.config.load import load
from gatekeeper.decision.cases_schema import cases_schema
from gatekeeper.decision.json_schema import json_schema
from gatekeeper.decision.lint import Breadth, of_listeners, warnings
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.policy_source import load_policy


@click.group()
def policy() -> None:
    """Who may read mail: check it, and ask what it says."""


@policy.command()
@click.argument("file", required=False, type=InputFile())
@click.option("--schema", "as_schema", is_flag=True, help="Print the JSON Schema of the language instead.")
@click.option("--devices", "on_devices", is_flag=True, help="Also say what means an app on a third of all devices.")
@click.option("--at", metavar="TIME", callback=instant, help="Warn as on another day than today.")
@store_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def check(  # noqa: PLR0913  one for each option
    config_path: Path,
    file: Path | None,
    *,
    as_schema: bool,
    on_devices: bool,
    at: datetime | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Read a policy (default: the configured one); say everything that is wrong, at once.

    Warnings are about what is allowed but probably not meant. The directory is asked whether it has the groups that
    the policy takes from it.
    """
    if as_schema:
        say_json(json_schema())
        return
    path = file or load_settings(config_path).policy_file
    try:
        found = load_policy(path, identity_settings(config_path))
    except DocumentError as error:
        if as_json:
            say_json({"ok": False, "faults": [dataclasses.asdict(fault) for fault in error.faults]})
            raise SystemExit(EXIT_FAILED) from None
        advice = [f"{path}: is a file of tests: `gatekeeper policy test` runs it"] if path.name.endswith(SUFFIX) else []
        fail(*map(str, error.faults), *advice, code=EXIT_FAILED)
    concerns = warnings(found, at or SystemClock().now())
    concerns += _of_configuration(found, config_path)
    if on_devices:
        concerns += _breadth(found, config_path, store)
    if as_json:
        say_json({"ok": True, "sha256": found.sha256, "warnings": [dataclasses.asdict(item) for item in concerns]})
        return
    for concern in concerns:
        click.echo(f"warning: {concern}", err=True)
    size = f"{counted(len(found.rules), 'rule')}, {counted(len(found.exemptions), 'exemption')}"
    click.echo(f"{path}: fine ({size}, sha256 {found.sha256[:16]})")


def _of_configuration(policy: Policy, config_path: Path) -> tuple[Fault, ...]:
    """A policy may be looked at where no gate is configured, or is not configured well."""
    if not policy.directory_groups and not any(rule.scope.listeners for rule in policy.rules):
        return ()
    try:
        settings = load(config_path, os.environ)
    except DocumentError:
        return ()
    concerns = of_listeners(policy, [each.name for each in settings.listeners])
    return concerns + (directory.concerns(policy, settings) if policy.directory_groups else ())


def _breadth(policy: Policy, config_path: Path, store: str | None) -> tuple[Fault, ...]:
    breadth = Breadth(policy)

    async def work(registry: SqlRegistry) -> None:
        seen = 0
        while page := await registry.all_devices(limit=PAGE, offset=seen):
            breadth.add(page)
            seen += len(page)

    in_registry(config_path, store, work)
    return breadth.warnings()


@policy.command()
@click.option("--tests", "of_tests", is_flag=True, help="Of the files that `policy test` reads.")
def schema(*, of_tests: bool) -> None:
    """The JSON Schema of the language, for editors: they complete keys and mark what is wrong.

    \b
    Examples:
      gatekeeper policy schema > config/policy.schema.json
      gatekeeper policy schema --tests > config/policy.test.schema.json
    """  # noqa: D301  click's paragraph mark
    say_json(cases_schema() if of_tests else json_schema())


policy.add_command(why, "explain")  # the same question, asked from the policy's side
for command in (build, sign, publish, status, rollback, diff, key, plan, test, break_glass):
    policy.add_command(command)
