"""What may be pruned, and what a hold keeps."""

import pytest

from gatekeeper.audit.report import Head
from gatekeeper.audit.retention import Hold, Span, dump_holds, parse_holds, prunable

SPANS = [
    Span(
        name=f"s{number}",
        octets=1000,
        first=number * 100,
        last=Head(number * 100 + 99, f"{number}" * 64),
        first_ms=number * 10,
        last_ms=number * 10 + 9,
    )
    for number in range(5)
]


def hold(since_ms: int | None = None, until_ms: int | None = None) -> Hold:
    return Hold(id="hold-1", reason="why", case="", by="root", placed_ms=5, since_ms=since_ms, until_ms=until_ms)


@pytest.mark.parametrize(
    ("before_ms", "holds", "needed_from", "gone", "held", "unsigned"),
    [
        pytest.param(25, [], 10_000, 2, False, False, id="whole segments only"),
        pytest.param(30, [], 10_000, 3, False, False, id="to the millisecond"),
        pytest.param(29, [], 10_000, 2, False, False, id="the last record is not older"),
        pytest.param(0, [], 10_000, 0, False, False, id="none old enough"),
        pytest.param(100, [], 10_000, 5, False, False, id="all"),
        pytest.param(100, [hold()], 10_000, 0, True, False, id="everything held"),
        pytest.param(100, [hold(24, 26)], 10_000, 2, True, False, id="nothing after a held one"),
        pytest.param(100, [hold(19, 19)], 10_000, 1, True, False, id="held by its last millisecond"),
        pytest.param(100, [hold(until_ms=20)], 10_000, 0, True, False, id="held from the beginning"),
        pytest.param(25, [hold(since_ms=40)], 10_000, 2, False, False, id="a hold on later ones"),
        pytest.param(100, [], 250, 2, False, True, id="the signed head needs it"),
        pytest.param(100, [], 0, 0, False, True, id="nothing is signed"),
    ],
)
def test_what_may_go(
    before_ms: int, holds: list[Hold], needed_from: int, gone: int, held: bool, unsigned: bool
) -> None:
    """Whole old segments from the beginning, up to the first that stays."""
    found = prunable(SPANS, before_ms=before_ms, holds=holds, needed_from=needed_from)
    assert found.spans == tuple(SPANS[:gone])
    assert found.first_kept == (gone * 100 or None)
    assert (bool(found.held_by), found.is_unsigned) == (held, unsigned)


def test_holds_come_back_from_their_file() -> None:
    """As they were."""
    holds = (hold(), hold(1, 2))
    assert parse_holds(dump_holds(holds)) == holds
    assert parse_holds(dump_holds([])) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"holds": [{}]}',
        b'{"holds": 3}',
        dump_holds([hold()]).replace(b'"why"', b"7"),
        dump_holds([hold()]).replace(b'"placed_ms": 5', b'"placed_ms": null'),
        dump_holds([hold()]).replace(b'"placed_ms": 5', b'"placed_ms": true'),
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_of_holds_releases_nothing(data: bytes) -> None:
    """It is refused, not read as none."""
    with pytest.raises(ValueError):
        parse_holds(data)
