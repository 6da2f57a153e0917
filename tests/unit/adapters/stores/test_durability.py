"""What was acknowledged is there, whatever happens to the process."""

import asyncio

import pytest
from sqlalchemy import func, select

from gatekeeper.adapters.stores.engine import reading
from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.adapters.stores.tables import token_id
from gatekeeper.domain.device import DeviceId
from gatekeeper.ports.registry import Replayed
from testkit.reports import MINUTE, NOTES, NOW, TIKTOK, phone, report
from testkit.stores import acknowledged, evidence_writer

ROUNDS = 10


@pytest.mark.timeout(180)
async def test_acknowledged_evidence_survives_a_kill(url: str) -> None:
    """Ten processes are killed in the middle of their work while others write: what they acknowledged is on record."""
    tokens: list[str] = []
    places = asyncio.Semaphore(3)

    async def kill_at_work(number: int) -> None:
        async with places, asyncio.timeout(60), evidence_writer(url, f"ph-{number}", 100_000) as process:
            tokens.extend([await acknowledged(process) for _ in range(3 + number)])
            process.kill()
            assert process.stdout is not None
            rest = (await process.stdout.read()).decode().splitlines(keepends=True)
            tokens.extend(line.strip() for line in rest if line.endswith("\n"))

    async with asyncio.TaskGroup() as group:
        for number in range(ROUNDS):
            group.create_task(kill_at_work(number))
    assert len(tokens) >= sum(3 + number for number in range(ROUNDS))
    assert all(tokens)

    async with open_store(url) as engine:
        registry = SqlRegistry(engine)
        for token in tokens:
            name, minute = token.rsplit("-", 1)
            posture = await registry.device(DeviceId(name))
            assert posture is not None
            assert posture.result is not None
            assert posture.result.collected_at >= NOW + int(minute) * MINUTE
            assert posture.result.apps.apps == (NOTES, TIKTOK)
            with pytest.raises(Replayed):
                await registry.accept_evidence(
                    report(phone(name)), token_id=token, token_expires=NOW, nonce_digest=None, now=NOW
                )


async def test_two_processes_write_at_once(url: str) -> None:
    """Each waits for the other; nothing is lost and nothing fails."""
    async with open_store(url) as engine, asyncio.timeout(60):
        async with evidence_writer(url, "one", 40) as one, evidence_writer(url, "two", 40) as two:
            assert [await one.wait(), await two.wait()] == [0, 0]
        async with reading(engine) as connection:
            assert await connection.scalar(select(func.count()).select_from(token_id)) == 80
