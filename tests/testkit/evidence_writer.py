"""A process that accepts evidence in a loop: `python -m testkit.evidence_writer URL NAME COUNT`.

Each token id is written to stdout after the registry has returned, so that whoever reads it may rely on it. SQLite lets
nobody in by turns: on a busy disk one of several that write without a pause may wait for very long, and does.
"""

import asyncio
import sys

from gatekeeper.adapters.stores import engine as module
from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.adapters.stores.registry import SqlRegistry
from testkit.reports import MINUTE, NOTES, NOW, TIKTOK, phone, report


async def main(url: str, name: str, count: int) -> None:
    """Register one phone named `name` and accept its evidence `count` times."""
    async with open_store(url) as engine:
        registry = SqlRegistry(engine)
        if await registry.device(phone(name).device_id) is None:
            await registry.apply([report(phone(name, f"{name}@example.com"))], now=NOW)
        for number in range(1, count + 1):
            await registry.accept_evidence(
                report(phone(name), NOTES, TIKTOK, at=NOW + number * MINUTE),
                token_id=f"{name}-{number}",
                token_expires=NOW + count * MINUTE,
                nonce_digest=None,
                now=NOW,
            )
            print(f"{name}-{number}", flush=True)  # noqa: T201  the acknowledgement


if __name__ == "__main__":
    module.BUSY_TIMEOUT_S = 60.0
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
