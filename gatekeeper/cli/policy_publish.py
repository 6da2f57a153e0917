"""`gatekeeper policy publish | status`: put a bundle in force where the gate runs, and see what is in force."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import click

from gatekeeper.adapters.bundles.store import VersionTaken
from gatekeeper.audit.event import EventCode
from gatekeeper.cli.breaker import breaker_objections
from gatekeeper.cli.control import control_socket, gate_answer
from gatekeeper.cli.named import InputFile
from gatekeeper.cli.policy_desk import Desk, desk, read_octets
from gatekeeper.cli.policy_keys import passphrase_option, unlock
from gatekeeper.cli.recording import record_policy
from gatekeeper.cli.words import EXIT_FAILED, EXIT_TRY_AGAIN, EXIT_USAGE, fail, load_settings, say_json, say_table
from gatekeeper.config.settings import Settings
from gatekeeper.domain.document import DocumentError
from gatekeeper.publishing.approval import (
    Approved,
    Flaw,
    Refused,
    approve,
    check_override,
    check_signatures,
    override_note,
)
from gatekeeper.publishing.bundle import BundleError, parse_bundle
from gatekeeper.server.policy_source import load_policy
from gatekeeper.signing.note import SigningKey

_IN_FORCE_WITHIN_S = 5.0
_LISTED = 20


@click.command()
@click.argument("bundle_file", metavar="BUNDLE", type=InputFile())
@click.option("--force", is_flag=True, help="Though it newly blocks too many people; wants --reason and --key.")
@click.option("--reason", help="Why it must be, in one line; it is signed and recorded.")
@click.option("--key", "key_file", type=InputFile(), help="The key file of a second approver.")
@passphrase_option
@click.pass_obj
def publish(
    config_path: Path,
    bundle_file: Path,
    reason: str | None,
    key_file: Path | None,
    passphrase_file: Path | None,
    *,
    force: bool,
) -> None:
    """Put BUNDLE in force: within a second on a running gate.

    Refused unless it is approved and newer, and when it would newly block too many people ([policy.breaker]).
    """
    if force and (reason is None or key_file is None):
        raise click.UsageError("--force wants --reason and --key: a second approver says why")
    place = desk(config_path)
    data = read_octets(bundle_file)
    newest = max(place.versions(), default=0)
    try:
        approved = approve(data, place.bundles.approvers, place.settings.accounts.names, above=newest)
    except Refused as refused:
        _refuse(config_path, bundle_file, refused)
    against = breaker_objections(config_path, place.settings, place.in_force(), approved.policy)
    if against and not force:
        advice = "or have a second approver publish it with --force, --reason and --key"
        _refuse(config_path, bundle_file, Refused(Flaw.BREAKER, *against), f"change it, {advice}")
    if against and reason is not None and key_file is not None:
        data = _overridden(config_path, place, approved, reason, unlock(key_file, passphrase_file), bundle_file)
        for objection in against:
            click.echo(f"warning: forced: it {objection}", err=True)
    version = approved.statement.version
    try:
        place.store.publish(version, data)
    except VersionTaken as error:
        _refuse(config_path, bundle_file, Refused(Flaw.VERSION, str(error)))
    except OSError as error:
        fail(f"`{place.store.directory}` cannot be written: {error.strerror}; nothing changed", code=EXIT_TRY_AGAIN)
    click.echo(f"version {version}: published, approved by {', '.join(approved.approved_by)}")
    _tell_when_in_force(config_path, version)


@click.command()
@click.option("--all", "everything", is_flag=True, help=f"The whole history, not only the last {_LISTED} versions.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def status(config_path: Path, *, everything: bool, as_json: bool) -> None:
    """Which policy is in force, and the published versions with their authors and approvers.

    Where the policy is a file: whether the gate has taken it as it is now.
    """
    settings = load_settings(config_path)
    if settings.bundles is None:
        _say_file(settings, _gate_says(config_path), as_json=as_json)
        return
    place = desk(config_path)
    versions = place.versions()
    rows = [_facts(place, version) for version in (versions if everything else versions[-_LISTED:])]
    gate = _gate_says(config_path)
    if as_json:
        say_json({"gate": gate, "versions": rows})
        return
    if gate is None:
        click.echo("gate       does not answer: it takes the newest good version when it starts")
    else:
        for name, value in gate.items():
            click.echo(f"{name:<10} {value}")
    if rows:
        click.echo()
        header = ("version", "created", "author", "approved_by", "content", "reason")
        say_table([name.upper() for name in header], [[str(row[name]) for name in header] for row in rows])


def _say_file(settings: Settings, gate: dict[str, object] | None, *, as_json: bool) -> None:
    """The status of a site without bundles."""
    path = settings.policy_file
    try:
        digest = load_policy(path, settings.accounts.names).sha256
    except DocumentError:
        digest = None
    in_force = None if gate is None else gate.get("sha256")
    if as_json:
        say_json({"gate": gate, "versions": [], "file": {"path": str(path), "sha256": digest}})
        return
    if gate is None:
        click.echo("gate       does not answer: it takes the file when it starts")
    else:
        click.echo(f"gate       has in force {gate.get('source')}, sha256 {str(in_force)[:16]}")
    if digest is None:
        click.echo(f"file       {path} has faults, so it cannot come into force: `gatekeeper policy check`")
    elif gate is None or digest == in_force:
        click.echo(f"file       {path}, sha256 {digest[:16]}{'' if gate is None else ': the same'}")
    else:
        click.echo(f"file       {path}, sha256 {digest[:16]}: NOT in force until `gatekeeper reload`")


def _facts(place: Desk, version: int) -> dict[str, object]:
    """One line of the history."""
    facts: dict[str, object] = dict.fromkeys(("created", "author", "content", "reason"), "-")
    try:
        bundle = parse_bundle(place.store.read(version))
        statement = bundle.statement
        facts |= {
            "created": statement.created.strftime("%Y-%m-%d %H:%M"),
            "author": statement.author,
            "content": statement.digest[:12],
            "reason": statement.reason,
        }
        approved_by = " ".join(check_signatures(bundle, place.bundles.approvers))
    except (OSError, BundleError, Refused) as error:
        approved_by = f"REFUSED: {error}"
    return {"version": version, **facts, "approved_by": approved_by}


def _gate_says(config_path: Path) -> dict[str, object] | None:
    answer = gate_answer(control_socket(config_path), "GET", "/status")
    return None if answer is None else _policy_in(answer[1])


def _policy_in(status: Mapping[str, object]) -> dict[str, object]:
    said = status.get("policy")
    return dict(said) if isinstance(said, dict) else {}


def _tell_when_in_force(config_path: Path, version: int) -> None:
    deadline = time.monotonic() + _IN_FORCE_WITHIN_S
    while (answer := gate_answer(control_socket(config_path), "GET", "/status")) is not None:
        said = _policy_in(answer[1])
        # A worker that does not answer may still follow the version from before.
        if said.get("version") == version and not answer[1].get("unanswered"):
            click.echo(f"version {version}: in force ({said.get('for', 'everybody')})")
            return
        if time.monotonic() > deadline:
            fail(f"the gate has not taken version {version} yet: see `gatekeeper policy status`", code=EXIT_TRY_AGAIN)
        time.sleep(0.05)
    click.echo("no gate answers: it takes this version when it starts", err=True)


def _overridden(
    config_path: Path, place: Desk, approved: Approved, reason: str, key: SigningKey, bundle_file: Path
) -> bytes:
    """The bundle with a second approver's word; ends the command when that one's word does not count."""
    try:
        note = key.sign(override_note(approved.statement, reason))
    except BundleError as error:
        fail(str(error), code=EXIT_USAGE)
    bundle = dataclasses.replace(approved.bundle, override=note)
    try:
        check_override(bundle, place.bundles.approvers, approved.approved_by)
    except Refused as refused:
        _refuse(config_path, bundle_file, refused)
    return bundle.encode()


def _refuse(config_path: Path, bundle_file: Path, refused: Refused, *advice: str) -> NoReturn:
    """End the command, and have it recorded."""
    detail: dict[str, str | int] = {"flaw": refused.flaw.value, "reason": str(refused)[:300]}
    record_policy(config_path, EventCode.POLICY_REJECTED, detail)
    reasons = [f"{bundle_file}: {reason}" for reason in refused.reasons]
    fail(*reasons, *advice, "not published; the policy in force stays", code=EXIT_FAILED)
