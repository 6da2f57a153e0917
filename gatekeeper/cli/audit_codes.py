"""`gatekeeper audit codes`, and event codes as the value of an option."""

import re
from difflib import get_close_matches

import click

from gatekeeper.audit.codes import CLASSIFICATIONS, EVENT_MEANINGS
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.handbook import page
from gatekeeper.audit.mappings.ecs_pipeline import pipeline
from gatekeeper.cli.words import say_json, say_table

_MARKED = re.compile(r"[`*]")
_CODES = [code.value for code in sorted(EventCode)]


class EventCodeType(click.ParamType[str]):
    """An event code in any case; whoever mistypes one is told those near it, not all."""

    name = "code"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The code as it is written in records."""
        wanted = value.upper()
        if wanted in _CODES:
            return wanted
        alike = [code for code in _CODES if code[:-1] == wanted[: len(code) - 1]]  # only the last letter is wrong
        near = alike or get_close_matches(wanted, _CODES, n=3, cutoff=0.7)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        what = f"there is no event code `{value}`: {hint}`gatekeeper audit codes` lists them"
        raise click.BadParameter(what, ctx, param)


@click.command("codes")
@click.option("--markdown", "as_markdown", is_flag=True, help="The page docs/audit-events.md.")
@click.option("--elastic", "as_pipeline", is_flag=True, help="An ingest pipeline that makes ECS of records.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def codes(*, as_markdown: bool, as_pipeline: bool, as_json: bool) -> None:
    """List the event codes with their meaning."""
    if as_markdown:
        click.echo(page(), nl=False)
        return
    if as_pipeline:
        say_json(pipeline())
        return
    if as_json:
        say_json([_document(code) for code in sorted(EventCode)])
        return
    rows = [
        [code.value, CLASSIFICATIONS[code].word.value, _MARKED.sub("", EVENT_MEANINGS[code])]
        for code in sorted(EventCode)
    ]
    say_table(["CODE", "WORD", "MEANING"], rows)


def _document(code: EventCode) -> dict[str, object]:
    row = CLASSIFICATIONS[code]
    return {
        "code": code.value,
        "word": row.word.value,
        "meaning": EVENT_MEANINGS[code],
        "class_uid": row.class_uid,
        "type_uid": row.fixed["type_uid"],
        "severity_id": row.fixed["severity_id"],
    }
