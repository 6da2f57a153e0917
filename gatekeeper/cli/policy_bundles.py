"""`gatekeeper policy build | sign | publish | status | rollback | diff`: how a policy comes into force.

A bundle is built by its author, signed by approvers on their own machines, and published where the gate runs.
"""

import difflib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from gatekeeper.adapters.bundles.durable import replace
from gatekeeper.adapters.bundles.store import BundleStore, VersionTaken
from gatekeeper.audit.event import EventCode
from gatekeeper.cli.control import control_socket, gate_answer
from gatekeeper.cli.policy_keys import passphrase_option, unlock
from gatekeeper.cli.recording import record_policy
from gatekeeper.cli.words import EXIT_CONFIG, EXIT_FAILED, EXIT_TRY_AGAIN, fail, load_settings, say_json, say_table
from gatekeeper.config.settings import BundleSettings, Settings
from gatekeeper.domain.document import DocumentError
from gatekeeper.publishing.approval import Approved, Flaw, Refused, approve, check_signatures, compile_files
from gatekeeper.publishing.bundle import (
    MAX_BUNDLE_OCTETS,
    POLICY_FILE,
    Bundle,
    BundleError,
    parse_bundle,
)
from gatekeeper.publishing.bundle import (
    build as build_bundle,
)
from gatekeeper.publishing.summary import changes
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.publications import newest_good

_IN_FORCE_WITHIN_S = 5.0
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Desk:
    """The configuration of a site whose policies are bundles, and its store."""

    settings: Settings
    bundles: BundleSettings
    store: BundleStore

    @property
    def next_version(self) -> int:
        """One above everything that is published."""
        return max(self.versions(), default=0) + 1

    def versions(self) -> tuple[int, ...]:
        """What is published, rising; ends the command when that cannot be read."""
        try:
            return self.store.versions()
        except OSError as error:
            fail(f"`{self.store.directory}` cannot be read: {error.strerror}", code=EXIT_TRY_AGAIN)

    def published(self, version: int) -> Bundle:
        """A published bundle, verified as far as its form goes; ends the command when there is none."""
        try:
            return parse_bundle(self.store.read(version))
        except FileNotFoundError:
            fail(f"there is no version {version}: `gatekeeper policy status` lists them", code=EXIT_FAILED)
        except (OSError, BundleError) as error:
            fail(f"version {version}: {error}", code=EXIT_FAILED)

    def newest_good(self) -> Approved | None:
        """The newest version that is approved and compiles."""
        try:
            return newest_good(self.bundles, self.settings.accounts.names)
        except DocumentError:
            return None


def desk(config_path: Path) -> Desk:
    """What the commands work on; ends the command where the policy is a single file."""
    settings = load_settings(config_path)
    if settings.bundles is None:
        fail(
            f"{config_path}: the policy is the file `{settings.policy_file}`, put in force by `gatekeeper reload`; "
            "to have bundles, add [policy.bundles] with origin, threshold and approvers",
            code=EXIT_CONFIG,
        )
    return Desk(settings, settings.bundles, BundleStore(settings.bundles.directory))


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--author", required=True, metavar="NAME", help="Who wrote it, and so cannot approve it.")
@click.option("--reason", required=True, help="Why it changes, in one line; it is signed and recorded.")
@click.option("--version", "version", type=int, help="Default: one above the newest published one.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: policy-VERSION.bundle.")
@click.pass_obj
def build(
    config_path: Path, file: Path | None, *, author: str, reason: str, version: int | None, output: Path | None
) -> None:
    """Make a bundle of the policy in FILE (default: the configured one), for approvers to sign."""
    place = desk(config_path)
    path = file or place.settings.policy_file
    files = {POLICY_FILE: _octets(path)}
    try:
        compile_files(files, place.settings.accounts.names, source=str(path))
    except Refused as refused:
        fail(*refused.reasons, code=EXIT_FAILED)
    _write_new(place, files, author=author, reason=reason, version=version, output=output)


@click.command()
@click.option("--to", "version", type=int, required=True, help="Whose content to bring back.")
@click.option("--author", required=True, metavar="NAME", help="Who asks for it, and so cannot approve it.")
@click.option("--reason", required=True, help="Why, in one line; it is signed and recorded.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: policy-VERSION.bundle.")
@click.pass_obj
def rollback(config_path: Path, *, version: int, author: str, reason: str, output: Path | None) -> None:
    """Make a new version with the content of an older one; it is signed and published like any other."""
    place = desk(config_path)
    files = place.published(version).files
    _write_new(place, files, author=author, reason=f"rollback to {version}: {reason}", version=None, output=output)


@click.command()
@click.argument("bundle_file", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--key", "key_file", required=True, type=click.Path(path_type=Path), help="The approver's key file.")
@passphrase_option
@click.option("--as-author", is_flag=True, help="Prove that the author is the author; no approval.")
def sign(bundle_file: Path, key_file: Path, passphrase_file: Path | None, *, as_author: bool) -> None:
    """Put an approver's signature on BUNDLE, after showing what is signed. Needs no configuration."""
    bundle = _bundle(bundle_file)
    statement = bundle.statement
    click.echo(bundle.statement.text, nl=False)
    signing_key = unlock(key_file, passphrase_file)
    if (signing_key.name == statement.author) != as_author:
        who = f"`{signing_key.name}` is {'not ' if as_author else ''}its author"
        fail(f"{who}{'' if as_author else ', who cannot approve it'}", code=EXIT_FAILED)
    _replace(bundle_file, bundle.with_note(signing_key.sign(bundle.note)).encode())
    click.echo(f"{bundle_file}: signed by {signing_key.name} ({len(bundle.signatures) + 1} signatures)", err=True)


@click.command()
@click.argument("bundle_file", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.pass_obj
def publish(config_path: Path, bundle_file: Path) -> None:
    """Put BUNDLE in force: within a second on a running gate. Refused unless it is approved and newer."""
    place = desk(config_path)
    data = _octets(bundle_file)
    newest = max(place.versions(), default=0)
    try:
        approved = approve(data, place.bundles.approvers, place.settings.accounts.names, above=newest)
    except Refused as refused:
        _refuse(config_path, bundle_file, refused)
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
    """Which policy is in force, and the published versions with their authors and approvers."""
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


@click.command()
@click.argument("before", required=False)
@click.argument("after", required=False)
@click.pass_obj
def diff(config_path: Path, before: str | None, after: str | None) -> None:
    """What changes from BEFORE to AFTER: each a version, a bundle, or a policy file.

    Without AFTER: to the configured policy file. Without BEFORE: from the newest good version.
    """
    place = desk(config_path)
    old = _policy_files(place, before)
    new = {POLICY_FILE: _octets(place.settings.policy_file)} if after is None else _policy_files(place, after)
    names = place.settings.accounts.names
    try:
        old_policy = compile_files(old, names, source=before or "in force")
        new_policy = compile_files(new, names, source=after or str(place.settings.policy_file))
    except Refused as refused:
        fail(*refused.reasons, code=EXIT_FAILED)
    for line in changes(old_policy, new_policy):
        click.echo(line)
    for name in sorted(old.keys() | new.keys()):
        one, other = (files.get(name, b"").decode("utf-8", "replace").splitlines() for files in (old, new))
        for line in difflib.unified_diff(one, other, f"before/{name}", f"after/{name}", lineterm="", n=2):
            click.echo(line)


def _policy_files(place: Desk, what: str | None) -> Mapping[str, bytes]:
    if what is None:
        newest = place.newest_good()
        if newest is None:
            fail("no approved version is published yet: name what to compare with", code=EXIT_FAILED)
        return newest.bundle.files
    if what.isdecimal():
        return place.published(int(what)).files
    path = Path(what)
    return _bundle(path).files if path.suffix == ".bundle" else {POLICY_FILE: _octets(path)}


def _write_new(
    place: Desk,
    files: Mapping[str, bytes],
    *,
    author: str,
    reason: str,
    version: int | None,
    output: Path | None,
) -> None:
    try:
        bundle = build_bundle(
            files,
            origin=place.bundles.approvers.origin,
            version=place.next_version if version is None else version,
            author=author,
            reason=reason,
            now=SystemClock().now(),
        )
    except BundleError as error:
        fail(str(error), code=EXIT_FAILED)
    path = output or Path(f"policy-{bundle.statement.version}.bundle")
    if path.exists():
        fail(f"`{path}` exists: name another with --output, or remove it", code=EXIT_FAILED)
    _replace(path, bundle.encode())
    click.echo(bundle.statement.text, nl=False)
    needed = place.bundles.approvers.threshold
    click.echo(f"{path}: built; {needed} approvers sign it with `gatekeeper policy sign {path} --key FILE`", err=True)


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
    if answer is None:
        return None
    said = answer[1].get("policy")
    return dict(said) if isinstance(said, dict) else {}


def _tell_when_in_force(config_path: Path, version: int) -> None:
    deadline = time.monotonic() + _IN_FORCE_WITHIN_S
    while (said := _gate_says(config_path)) is not None:
        if said.get("version") == version:
            click.echo(f"version {version}: in force ({said.get('for', 'everybody')})")
            return
        if time.monotonic() > deadline:
            fail(f"the gate has not taken version {version} yet: see `gatekeeper policy status`", code=EXIT_TRY_AGAIN)
        time.sleep(0.05)
    click.echo("no gate answers: it takes this version when it starts", err=True)


def _refuse(config_path: Path, bundle_file: Path, refused: Refused) -> NoReturn:
    """End the command, and have it recorded."""
    detail: dict[str, str | int] = {"flaw": refused.flaw.value, "reason": str(refused)[:300]}
    record_policy(config_path, EventCode.POLICY_REJECTED, detail)
    reasons = [f"{bundle_file}: {reason}" for reason in refused.reasons]
    fail(*reasons, "not published; the policy in force stays", code=EXIT_FAILED)


def _bundle(path: Path) -> Bundle:
    try:
        return parse_bundle(_octets(path))
    except BundleError as error:
        fail(f"`{path}` {error}", code=EXIT_FAILED)


def _octets(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BUNDLE_OCTETS + 1)
    except OSError as error:
        fail(f"`{path}` cannot be read: {error.strerror}", code=EXIT_FAILED)


def _replace(path: Path, data: bytes) -> None:
    try:
        replace(path, data)
    except OSError as error:
        fail(f"`{path}` cannot be written: {error.strerror}", code=EXIT_FAILED)
