"""The benchmark's own sections: they measure what they say, on small stores, with the real commands."""

from pathlib import Path

import pytest

from benchmarks import report, sections
from benchmarks.bench import in_order
from benchmarks.figures import FIGURES, FULL
from benchmarks.peers import all_peers
from benchmarks.report import Run, table
from benchmarks.sections import Found, Work


def test_the_campaign_is_measured_on_stores_made_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every device is planned, every decision of the week performed again, and the sessions decided anew."""
    monkeypatch.setattr(sections, "CAMPAIGN_QUICK", (200, 50, 20))
    (section,) = [each for each in sections.SECTIONS if each.name == "campaign"]
    found = {each.key: each for each in section.measure(Work(tmp_path, is_quick=True, say=print))}

    assert list(found) == ["plan.wall", "plan.memory", "publish.cut", "replay.wall", "replay.memory"]
    assert "200 devices of 160 people" in str(found["plan.wall"].details["head"])
    assert "Replay of 350 decisions" in str(found["replay.wall"].details["head"])
    assert "not re-performable 0" in str(found["replay.wall"].details["said"])
    assert found["publish.cut"].details["sessions"] == 20


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [
        ("login", ["gatekeeper", "Dovecot", "nginx", "nginx 64k"], ["nginx 64k", "nginx", "Dovecot", "gatekeeper"]),
        ("up", ["gatekeeper", "nginx", "nginx 64k", "Dovecot"], ["Dovecot", "nginx 64k", "nginx", "gatekeeper"]),
    ],
)
def test_both_sides_of_a_ratio_are_measured_one_after_the_other(key: str, first: list[str], second: list[str]) -> None:
    """Each of them before the other in every second round; those that are not installed are left out."""
    (figure,) = [each for each in FIGURES if each.key == key]
    for turn, order in enumerate((first, second, first)):
        assert [peer.name for peer in in_order(all_peers(), figure, turn)] == order
    some = [peer for peer in all_peers() if peer.name != "nginx"]
    assert [peer.name for peer in in_order(some, figure, 0)] == [name for name in first if name != "nginx"]


def test_the_table_says_what_was_reached() -> None:
    """At most or at least; what went wrong besides is missed whatever the figure."""
    run = Run(figures=[], peers=[])
    run.alone["one"] = [
        Found("a", "quick", "s", 9.0, 10.0),
        Found("b", "slow", "s", 11.0, 10.0),
        Found("c", "many", "a second", 11.0, 10.0, is_least=True),
        Found("d", "broken", "s", 1.0, 10.0, sound=False),
    ]
    run.not_measured["two"] = "RuntimeError: no"
    lines = table(run, FULL, rounds=1).splitlines()

    verdicts = [line.split("  ")[-1].strip() for line in lines if ", s" in line or ", a second" in line]
    assert verdicts == ["reach met", "missed", "reach met", "missed"]
    assert lines[-1] == "not measured: two: RuntimeError: no"
    assert report.number(9.0) == "9.00"
