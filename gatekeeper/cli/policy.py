"""`gatekeeper policy`: what is asked of a policy, and the commands by which one comes into force."""

import dataclasses
from pathlib import Path

import click

from gatekeeper.cli.device import why
from gatekeeper.cli.policy_bundles import build, diff, rollback, sign
from gatekeeper.cli.policy_keys import key
from gatekeeper.cli.policy_plan import plan
from gatekeeper.cli.policy_publish import publish, status
from gatekeeper.cli.policy_tests import test
from gatekeeper.cli.words import EXIT_FAILED, fail, identity_settings, load_settings, say_json
from gatekeeper.decision.json_schema import json_schema
from gatekeeper.decision.lint import warnings
from gatekeeper.domain.document import DocumentError
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.policy_source import load_policy


@click.group()
def policy() -> None:
    """Who may read mail: check it, and ask what it says."""


@policy.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--schema", "as_schema", is_flag=True, help="Print the JSON Schema of the language instead.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def check(config_path: Path, file: Path | None, *, as_schema: bool, as_json: bool) -> None:
    """Read a policy (default: the configured one); say everything that is wrong, at once."""
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
        fail(*map(str, error.faults), code=EXIT_FAILED)
    concerns = warnings(found, SystemClock().now())
    if as_json:
        say_json({"ok": True, "sha256": found.sha256, "warnings": [dataclasses.asdict(item) for item in concerns]})
        return
    for concern in concerns:
        click.echo(f"warning: {concern}", err=True)
    click.echo(
        f"{path}: fine ({len(found.rules)} rules, {len(found.exemptions)} exemptions, sha256 {found.sha256[:16]})"
    )


@policy.command()
def schema() -> None:
    """The JSON Schema of the language, for editors: they complete keys and mark what is wrong.

    \b
    Example:
      gatekeeper policy schema > config/policy.schema.json
    """  # noqa: D301  click's paragraph mark
    say_json(json_schema())


policy.add_command(why, "explain")  # the same question, asked from the policy's side
for command in (build, sign, publish, status, rollback, diff, key, plan, test):
    policy.add_command(command)
