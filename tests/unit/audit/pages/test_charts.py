"""Charts as SVG."""

import xml.etree.ElementTree as ET

import pytest

from gatekeeper.audit.pages.charts import Mark, Series, _nice, bars, lines

LABELS = [f"07-{day:02d}" for day in range(1, 31)]


def svg(figure: str) -> ET.Element:
    root = ET.fromstring(figure)
    found = root.find(".//svg")
    assert found is not None
    return found


def test_bars_are_as_high_as_their_figures() -> None:
    """Stacked; nothing is drawn for nothing; each says what it is."""
    found = svg(bars("Log-ins", ["a", "b"], [Series("let", "s0", [10, 0]), Series("blocked", "s3", [30, 40])]))
    rects = found.findall("rect")
    heights = [float(rect.attrib["height"]) for rect in rects]
    assert [rect.findtext("title") for rect in rects] == ["a: 10 let", "a: 30 blocked", "b: 40 blocked"]
    assert heights[1] == pytest.approx(3 * heights[0], abs=0.3)
    assert heights[2] == pytest.approx(heights[0] + heights[1], abs=0.3)
    assert float(rects[1].attrib["y"]) + heights[1] == pytest.approx(float(rects[0].attrib["y"]), abs=0.2)
    assert found.findtext("title") == "Log-ins"
    assert found.findtext("desc") == "let 10; blocked 70"


def test_lines_go_down_as_their_figures_do() -> None:
    """A point a bucket, in the picture; a mark stands where its instant is."""
    found = svg(
        lines("Breach", LABELS, [Series("no-tiktok", "s0", list(range(29, -1, -1)))], [Mark(15, "enforced <now>")])
    )
    line = found.find("polyline")
    assert line is not None
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert len(points) == 30
    assert all(0 <= x <= 720 and 0 <= y <= 260 for x, y in points)
    assert [y for _, y in points] == sorted(y for _, y in points)
    texts = [text.text for text in found.findall("text")]
    assert "enforced <now>" in texts
    mark = next(line for line in found.findall("line") if line.attrib["class"] == "mark")
    assert float(mark.attrib["x1"]) == pytest.approx((points[14][0] + points[15][0]) / 2, abs=0.2)


def test_labels_do_not_run_into_each_other() -> None:
    """Of thirty days some are named."""
    texts = svg(bars("Log-ins", LABELS, [])).findall("text")
    assert sum((text.text or "").startswith("07-") for text in texts) <= 8


def test_nothing_to_show_is_an_empty_chart() -> None:
    """Not a fault."""
    assert svg(bars("x", [], [])).findall("rect") == []
    assert svg(lines("x", [], [Series("y", "s0", [])], [])).findall("circle") == []
    assert svg(bars("x", ["a"], [Series("y", "s0", [0])])).findall("rect") == []


@pytest.mark.parametrize(
    ("most", "top"), [(0, 4), (4, 4), (5, 8), (13, 16), (21, 24), (33, 40), (1234, 1600), (10**18, 12 * 10**17)]
)
def test_the_axis_ends_at_a_round_number(most: int, top: int) -> None:
    """Not below the highest figure."""
    assert _nice(most) == top
