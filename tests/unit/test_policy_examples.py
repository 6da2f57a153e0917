"""The recipes in `config/examples`: valid, without a warning, tested in full, and no part of them is idle."""

import copy
import json
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from gatekeeper.decision.cases import read_cases
from gatekeeper.decision.cases_schema import cases_schema
from gatekeeper.decision.json_schema import json_schema
from gatekeeper.decision.schema import parse_policy
from gatekeeper.decision.trial import differences
from gatekeeper.domain.document import DocumentError
from testkit.guide import EXAMPLES
from testkit.json_schema import complaints
from testkit.toml import dumps

WRITTEN = "2027-01-04"
"""The day on which the recipes are read: before all of their dates."""
RECIPES = sorted(path for path in EXAMPLES.glob("*.toml") if not path.name.endswith(".test.toml"))
each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=[path.stem for path in RECIPES])


def run(*arguments: object) -> Result:
    """A `policy` command without any configuration."""
    return CliRunner().invoke(cli, ["--config", "/nowhere/gatekeeper.toml", "policy", *map(str, arguments)])


@each_recipe
def test_it_is_valid_and_nothing_in_it_is_odd(recipe: Path) -> None:
    """For `policy check` and for editors."""
    checked = run("check", recipe, "--at", WRITTEN, "--json")

    assert checked.exit_code == 0, checked.stderr
    assert json.loads(checked.stdout)["warnings"] == []
    for path, schema in ((recipe, json_schema()), (recipe.with_suffix(".test.toml"), cases_schema())):
        assert list(complaints(schema, tomllib.loads(path.read_text()))) == []
        named = path.read_text().partition("\n")[0].removeprefix("#:schema ")
        assert json.loads((path.parent / named).read_text()) == schema


@each_recipe
def test_its_tests_cover_every_phase_and_miss_every_rule(recipe: Path) -> None:
    """As whoever takes it over will run them."""
    tested = run("test", recipe.with_suffix(".test.toml"), "--min-coverage", 100)

    assert (tested.exit_code, tested.stderr) == (0, ""), tested.output
    assert "(100 %)" in tested.stdout


@pytest.mark.parametrize(
    "recipe", [path for path in RECIPES if path.stem != "take-it-back"], ids=lambda path: path.stem
)
def test_its_tests_miss_every_part_of_a_rule(recipe: Path) -> None:
    """Each matcher, condition of the scope, phase, step and exemption is taken away in turn: some test fails then.

    What is taken back has the tests of what it takes back.
    """
    cases = read_cases(recipe.with_suffix(".test.toml").read_bytes(), source="tests").cases
    unmissed = []
    for what, text in mutants(tomllib.loads(recipe.read_text())):
        try:
            policy = parse_policy(text.encode(), source=what)
        except DocumentError:
            continue  # no policy any more: nobody could publish it
        if not any(map(partial(differences, policy), cases)):
            unmissed.append(what)
    assert unmissed == []


def test_taking_it_back_is_one_line() -> None:
    """Beside the comments at the top."""
    before, after = (
        [line for line in (EXAMPLES / name).read_text().splitlines() if not line.startswith("#")]
        for name in ("delete-by-friday.toml", "take-it-back.toml")
    )
    assert [line for line in after if line not in before] == [
        'action = "observe" # takes it back: the most that the rule does'
    ]
    assert [line for line in before if line not in after] == []


def mutants(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The policy without one of its parts, in every way that changes a verdict or a text."""
    for path in parts(document):
        mutant = copy.deepcopy(document)
        place: Any = mutant
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
        yield ".".join(map(str, path)), dumps(mutant)


def parts(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the parts of rules and exemptions are; what only explains them is left out."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        here = (*path, name)
        if path[:1] in {(), ("rule",), ("exemption",)} and name not in ("schema", "defaults", "groups", *WORDS):
            if len(here) > 1:
                yield here
            yield from parts(child, here)


WORDS = ("id", "title", "reason", "name", "approved_by", "platform")
"""What no verdict depends on, or only for phones that have another platform's ids."""
