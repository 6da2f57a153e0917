"""What only the database registry does; the rest is in `tests/contracts`."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores import registry as module
from gatekeeper.adapters.stores.engine import reading, writing
from gatekeeper.adapters.stores.registry import CHANGES_KEPT, SourceSummary, SqlRegistry
from gatekeeper.adapters.stores.tables import change, nonce, token_id
from gatekeeper.domain.device import DeviceId
from gatekeeper.ports.devices import Unavailable
from gatekeeper.ports.registry import Applied
from testkit.reports import MINUTE, NOTES, NOW, phone, report

PHONE = DeviceId("ph-1")


async def test_spent_nonces_token_ids_and_old_changes_are_removed(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """The tables do not grow for ever; the newest entry of the feed stays."""
    await registry.apply([report(phone("ph-1")), report(phone("ph-2"))], now=NOW)
    await registry.issue_nonce(PHONE, b"n" * 32, expires=NOW + MINUTE, now=NOW)
    await registry.accept_evidence(
        report(phone(), NOTES, at=NOW + MINUTE),
        token_id="jti",
        token_expires=NOW + MINUTE,
        nonce_digest=None,
        now=NOW,
    )
    assert await _counts(engine) == {"nonce": 1, "token_id": 1, "change": 3}

    later = NOW + CHANGES_KEPT + 2 * MINUTE
    await SqlRegistry(engine).apply([], now=later)

    assert await _counts(engine) == {"nonce": 0, "token_id": 0, "change": 1}


async def test_a_purge_removes_a_bounded_number(
    engine: AsyncEngine, registry: SqlRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No write has to pay for a long backlog."""
    await registry.apply([report(phone(str(number))) for number in range(9)], now=NOW)
    monkeypatch.setattr(module, "PURGED_AT_ONCE", 2)
    await SqlRegistry(engine).apply([], now=NOW + 2 * CHANGES_KEPT)

    assert (await _counts(engine))["change"] == 7


async def test_a_write_in_between_is_taken_into_account(registry: SqlRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import is planned before it takes the lock; what another process wrote meanwhile is not overlooked."""
    plan = module._plan
    other = SqlRegistry(registry._engine)
    calls = 0

    async def interrupted(*args: object) -> object:
        nonlocal calls
        calls += 1
        planned = await plan(*args)  # type: ignore[arg-type]  # the arguments are passed on
        if calls == 1:
            await other.apply([report(phone())], now=NOW)
        return planned

    monkeypatch.setattr(module, "_plan", interrupted)
    # The other's call is the second to plan, the repetition under the lock the third.
    assert await registry.apply([report(phone())], now=NOW) == Applied(unchanged=1)
    assert calls == 3


async def test_sources_are_summarised(registry: SqlRegistry) -> None:
    """How many devices each source tells of, and how old that is."""
    later = NOW + timedelta(hours=1)
    await registry.apply(
        [report(phone("a")), report(phone("b"), at=later), report(phone("a"), source="agent", at=later)], now=later
    )

    assert await registry.sources() == (SourceSummary("agent", 1, later, later), SourceSummary("mdm", 2, NOW, later))


async def test_what_is_not_understood_is_unavailable(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """Damaged rows are a fault of ours, never an empty list; the text does not quote them."""
    await registry.apply([report(phone(), NOTES)], now=NOW)
    async with writing(engine) as connection:
        await connection.execute(text("UPDATE attestation_result SET apps = 'com.secret'"))
    with pytest.raises(Unavailable, match="the evidence on record of device `ph-1` cannot be understood") as fault:
        await registry.device(PHONE)
    assert "secret" not in repr(fault.value)

    async with writing(engine) as connection:
        await connection.execute(text("UPDATE attestation_result SET collected_at = 'yesterday'"))
    with pytest.raises(Unavailable, match="a row on record cannot be understood"):
        await registry.device(PHONE)

    async with writing(engine) as connection:
        await connection.execute(text("UPDATE attestation_result SET collected_at = 0"))
        await connection.execute(text("UPDATE device SET platform = 'abacus'"))
    with pytest.raises(Unavailable, match="device `ph-1` on record cannot be understood"):
        await registry.all_devices()


async def test_a_missing_table_is_unavailable(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """Whatever the database raises, callers know one exception."""
    async with writing(engine) as connection:
        await connection.execute(text("DROP TABLE attestation_result"))

    with pytest.raises(Unavailable, match="no such table"):
        await registry.device(PHONE)


async def _counts(engine: AsyncEngine) -> dict[str, int | None]:
    async with reading(engine) as connection:
        return {
            table.name: await connection.scalar(select(func.count()).select_from(table))
            for table in (nonce, token_id, change)
        }
