"""`gatekeeper policy build | sign | rollback | diff`: what authors and approvers do.

A bundle is built by its author, signed by approvers on their own machines, and published where the gate runs.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path

import click

from gatekeeper.cli.named import InputFile
from gatekeeper.cli.policy_desk import Desk, desk, read_bundle, read_draft, read_octets, write_bundle
from gatekeeper.cli.policy_keys import passphrase_option, unlock
from gatekeeper.cli.words import EXIT_FAILED, EXIT_USAGE, counted, fail, identity_settings, load_settings
from gatekeeper.publishing.approval import Refused, compile_files
from gatekeeper.publishing.bundle import POLICY_FILE, BundleError
from gatekeeper.publishing.bundle import build as build_bundle
from gatekeeper.publishing.summary import changes
from gatekeeper.server.clock import SystemClock


@click.command()
@click.argument("file", required=False, type=InputFile())
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
    files = {POLICY_FILE: read_octets(file) if file else read_draft(place.settings)}
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
    in_force = place.in_force()
    if in_force is not None and in_force.bundle.files == files:
        click.echo(f"warning: version {version} says what is in force: this changes nothing", err=True)
    _write_new(place, files, author=author, reason=f"rollback to {version}: {reason}", version=None, output=output)


@click.command()
@click.argument("bundle_file", metavar="BUNDLE", type=InputFile())
@click.option("--key", "key_file", required=True, type=InputFile(), help="The approver's key file.")
@passphrase_option
@click.option("--as-author", is_flag=True, help="Prove that the author is the author; no approval.")
def sign(bundle_file: Path, key_file: Path, passphrase_file: Path | None, *, as_author: bool) -> None:
    """Put an approver's signature on BUNDLE, after showing what is signed. Needs no configuration."""
    bundle = read_bundle(bundle_file)
    statement = bundle.statement
    click.echo(bundle.statement.text, nl=False)
    signing_key = unlock(key_file, passphrase_file)
    if (signing_key.name == statement.author) != as_author:
        who = f"`{signing_key.name}` is {'not ' if as_author else ''}its author"
        fail(f"{who}{'' if as_author else ', who cannot approve it'}", code=EXIT_FAILED)
    signed = bundle.with_note(signing_key.sign(bundle.note))
    write_bundle(bundle_file, signed.encode())
    click.echo(
        f"{bundle_file}: signed by {signing_key.name} ({counted(len(signed.signatures), 'signature')})", err=True
    )


@click.command()
@click.argument("before", required=False, type=InputFile(allow_number=True))
@click.argument("after", required=False, type=InputFile(allow_number=True))
@click.pass_obj
def diff(config_path: Path, before: Path | None, after: Path | None) -> None:
    """What changes from BEFORE to AFTER: each a version, a bundle, or a policy file.

    Without AFTER: to the configured policy file. Without BEFORE: from the newest good version. Two files need no
    configuration.

    \b
    Examples:
      gatekeeper policy diff
      gatekeeper policy diff 41 policy-42.bundle
      gatekeeper policy diff config/policy.toml draft.toml
    """  # noqa: D301  click's paragraph mark
    settings = load_settings(config_path) if before is None else None
    if settings is not None and settings.bundles is None:
        raise click.UsageError(f"name two files: the policy is `{settings.policy_file}`, and there are no bundles")
    old = _in_force(desk(config_path)) if before is None else _policy_files(config_path, before)
    settings = load_settings(config_path) if after is None else None
    new = {POLICY_FILE: read_draft(settings)} if settings else _policy_files(config_path, after or Path())
    names = identity_settings(config_path)
    try:
        old_policy = compile_files(old, names, source=str(before or "in force"))
        new_policy = compile_files(new, names, source=str(after or (settings.policy_file if settings else "")))
    except Refused as refused:
        fail(*refused.reasons, code=EXIT_FAILED)
    for line in changes(old_policy, new_policy):
        click.echo(line)
    for name in sorted(old.keys() | new.keys()):
        one, other = (files.get(name, b"").decode("utf-8", "replace").splitlines() for files in (old, new))
        for line in difflib.unified_diff(one, other, f"before/{name}", f"after/{name}", lineterm="", n=2):
            click.echo(line)


def _in_force(place: Desk) -> Mapping[str, bytes]:
    newest = place.in_force()
    if newest is None:
        fail("no approved version is published yet: name what to compare with", code=EXIT_FAILED)
    return newest.bundle.files


def _policy_files(config_path: Path, what: Path) -> Mapping[str, bytes]:
    if str(what).isdecimal():
        return desk(config_path).published(int(str(what))).files
    return read_bundle(what).files if what.suffix == ".bundle" else {POLICY_FILE: read_octets(what)}


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
        fail(f"`{path}` exists: name another with --output, or remove it", code=EXIT_USAGE)
    write_bundle(path, bundle.encode())
    click.echo(bundle.statement.text, nl=False)
    needed = place.bundles.approvers.threshold
    click.echo(f"{path}: built; {needed} approvers sign it with `gatekeeper policy sign {path} --key FILE`", err=True)
