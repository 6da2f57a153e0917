"""`gatekeeper inventory import | list`: put what an MDM server exported on record.

A file is applied whole or not at all. The running gate hears of it by the feed of changes, decides its open sessions
again and records the import; what the feed cannot tell is recorded by `recording`.
"""

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from gatekeeper.adapters.stores.registry import SourceSummary, SqlRegistry
from gatekeeper.attestation.inventory import MAX_FILE_OCTETS, parse
from gatekeeper.audit.event import EventCode
from gatekeeper.cli.named import InputFile, named_octets
from gatekeeper.cli.recording import record_inventory
from gatekeeper.cli.store import duration_words, in_registry, store_option
from gatekeeper.cli.words import EXIT_FAILED, EXIT_USAGE, fail, identity_settings, say_json, say_table
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.domain.posture import Report
from gatekeeper.ports.registry import Applied, IdentifierTaken, OlderEvidence
from gatekeeper.server.clock import SystemClock


@click.group()
def inventory() -> None:
    """What the device management says about the devices."""


@inventory.command("import")
@click.argument("file", type=InputFile(allow_dash=True))
@click.option("--source", metavar="NAME", help="Put all reports on record under this source, whatever the file says.")
@store_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def import_(config_path: Path, file: Path, source: str | None, store: str | None, *, as_json: bool) -> None:
    """Read FILE (JSON lines or CSV; `-` for standard input) and apply it, all or nothing.

    \b
    Example:
      gatekeeper inventory import phones.jsonl
    """  # noqa: D301  click's paragraph mark
    now = SystemClock().now()
    name = "standard input" if str(file) == "-" else str(file)
    data = _read(file)
    digest = hashlib.sha256(data).hexdigest()
    try:
        reports = parse(data, source=name, now=now, names=identity_settings(config_path))
    except DocumentError as error:
        _refuse(config_path, digest, error.faults, as_json=as_json)
    if source:
        reports = tuple(_under(source, report) for report in reports)

    async def work(registry: SqlRegistry) -> Applied | Fault:
        try:
            return await registry.apply(reports, now=now, digest=digest)
        except (OlderEvidence, IdentifierTaken) as error:
            place = _place(data, reports, error.index)
            return Fault(name, place, f"device `{reports[error.index].device.device_id}`: {error}")

    outcome = in_registry(config_path, store, work, may_make=True)
    if isinstance(outcome, Fault):
        _refuse(config_path, digest, [outcome], as_json=as_json)
    counts = dataclasses.asdict(outcome)
    record_inventory(
        config_path,
        EventCode.INVENTORY_IMPORTED,
        {"file_sha256": digest, **counts},
        gate_knows=outcome.created + outcome.changed > 0,
    )
    if as_json:
        say_json({"file": name, "sha256": digest, **counts})
        return
    click.echo(f"{name}: {outcome.created} created, {outcome.changed} changed, {outcome.unchanged} unchanged")


@inventory.command("list")
@store_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def list_(config_path: Path, store: str | None, *, as_json: bool) -> None:
    """The sources on record, with how many devices they tell of and how old that is."""

    async def work(registry: SqlRegistry) -> tuple[SourceSummary, ...]:
        return await registry.sources()

    sources = in_registry(config_path, store, work)
    if as_json:
        say_json(
            [
                {**dataclasses.asdict(one), "newest": one.newest.isoformat(), "oldest": one.oldest.isoformat()}
                for one in sources
            ]
        )
        return
    if not sources:
        click.echo("no inventory on record yet; see `gatekeeper inventory import --help`", err=True)
        return
    now = SystemClock().now()
    say_table(
        ["SOURCE", "DEVICES", "NEWEST", "OLDEST"],
        [
            [
                one.source,
                str(one.devices),
                f"{duration_words(now - one.newest)} ago",
                f"{duration_words(now - one.oldest)} ago",
            ]
            for one in sources
        ],
    )


def _read(file: Path) -> bytes:
    if str(file) != "-":
        return named_octets(file, MAX_FILE_OCTETS)
    try:
        return sys.stdin.buffer.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        fail(f"standard input cannot be read: {error.strerror}", code=EXIT_USAGE)


def _under(source: str, report: Report) -> Report:
    return dataclasses.replace(report, result=dataclasses.replace(report.result, source=source))


def _place(data: bytes, reports: Sequence[Report], index: int) -> str:
    """The line of a report, where a line is a report: with as many lines that are not empty as reports."""
    numbers = [number for number, line in enumerate(data.splitlines(), start=1) if line.strip()]
    return f"line {numbers[index]}" if len(numbers) == len(reports) else ""


def _refuse(config_path: Path, digest: str, faults: Sequence[Fault], *, as_json: bool) -> NoReturn:
    """One fault a line, a record, and the end of the command: nothing was applied."""
    if as_json:
        say_json({"faults": [dataclasses.asdict(fault) for fault in faults]})
    for fault in faults:
        click.echo(str(fault), err=True)
    record_inventory(
        config_path,
        EventCode.INVENTORY_REJECTED,
        {"file_sha256": digest, "faults_n": len(faults), "first_fault": str(faults[0])},
        gate_knows=False,
    )
    click.echo("nothing was applied", err=True)
    raise SystemExit(EXIT_FAILED)
