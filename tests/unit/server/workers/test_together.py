"""What several workers say together."""

from types import SimpleNamespace
from typing import Any

import pytest

from gatekeeper.server.workers.together import Together


def _answer(*workers: dict[str, Any] | None) -> dict[str, Any]:
    numbers = [str(number) for number in range(1, len(workers) + 1)]
    roster = [{"worker": number, "is_up": True, "state": "serves"} for number in numbers]
    return {"workers": dict(zip(numbers, workers, strict=True)), "roster": roster, "were_up": True}


async def _status(*workers: dict[str, Any] | None, host: int = 1) -> dict[str, Any]:
    async def ask(_what: str, _within_s: float) -> dict[str, Any]:
        counts = {"sessions": 0, "waiting": 0, "audit_records": 0, "ready": {}}
        answer = _answer(*(None if said is None else {**counts, **said} for said in workers))
        return {**answer, "roster": [{**one, "pid": 1} for one in answer["roster"]]}

    together = Together(SimpleNamespace(admin_port=1), host, ask)  # type: ignore[arg-type]  nothing else is asked of it
    return dict(await together.status())


async def _checks(*workers: dict[str, Any] | None) -> dict[str, str]:
    async def ask(_what: str, _within_s: float) -> dict[str, Any]:
        return _answer(*workers)

    together = Together(None, 1, ask)  # type: ignore[arg-type]  not asked of here
    return dict(await together.checks())


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("ok", "ok", "ok"),
        ("ok, but the directory is away", "ok", "ok, but the directory is away"),
        ("ok", "ok, but the directory is away", "ok, but the directory is away"),
        ("ok, but the directory is away", "broken", "worker 2: broken"),
        ("broken", "ok, but the directory is away", "worker 1: broken"),
        ("broken", "gone", "worker 1: broken; worker 2: gone"),
    ],
)
async def test_what_is_well_enough_stays_so(first: str, second: str, both: str) -> None:
    """What begins with `ok` keeps the gate ready, whoever says it; what does not never hides behind it."""
    found = await _checks({"groups": first}, {"groups": second})
    assert found["groups"] == both


async def test_a_worker_that_does_not_answer_is_told() -> None:
    """With its number."""
    assert (await _checks({"groups": "ok"}, None))["answers"] == "worker 2: does not answer"


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("", "", ""),
        ("OPEN until noon", "OPEN until noon", "OPEN until noon"),
        ("OPEN until noon", "", "worker 1: OPEN until noon; worker 2: closed"),
        ("", "OPEN until noon", "worker 1: closed; worker 2: OPEN until noon"),
    ],
)
async def test_break_glass_is_closed_only_when_it_is_with_all(first: str, second: str, both: str) -> None:
    """Each follows the note by itself: whoever waits for it is not to hear of it from the quicker one."""
    assert (await _status({"break_glass": first}, {"break_glass": second}))["break_glass"] == both


async def test_a_worker_that_does_not_answer_has_not_followed() -> None:
    """Nobody is told that all have, whether they wait for break-glass or for a version."""
    said = await _status({"break_glass": "OPEN until noon", "policy": {"version": 2}}, None)
    assert said["break_glass"] == "worker 1: OPEN until noon; worker 2: does not answer"
    assert said["unanswered"] == [2]


@pytest.mark.parametrize(("first", "second", "of_all"), [(2, 2, 2), (2, 1, 1), (1, 2, 1), (None, None, None)])
async def test_a_version_is_in_force_only_when_it_is_with_all(
    first: int | None, second: int | None, of_all: int | None
) -> None:
    """Each follows the store by itself: whoever publishes is not to hear of it from the quicker one."""
    policies = [{"policy": {"source": "policy.toml"} if one is None else {"version": one}} for one in (first, second)]
    assert (await _status(*policies))["policy"].get("version") == of_all


async def test_of_policies_alike_the_hosts_own_words_count() -> None:
    """What it has seen of a rollout is its own."""
    policies = [{"policy": {"version": 2, "seen": seen}} for seen in ("there", "here")]
    assert (await _status(*policies, host=2))["policy"]["seen"] == "here"
