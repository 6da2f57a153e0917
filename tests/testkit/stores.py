"""A store as the tests use it: both of its ports, and processes of their own that write to it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.ports.devices import Devices
from gatekeeper.ports.registry import Registry

_TESTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class Adapter:
    """One store seen through its two ports."""

    registry: Registry
    devices: Devices
    synchronise: Callable[[], Awaitable[None]]
    """Makes `devices` take in what was written until now."""


@asynccontextmanager
async def evidence_writer(url: str, name: str, count: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that accepts evidence `count` times and writes the token id of each once it is durable."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "testkit.evidence_writer",
        url,
        name,
        str(count),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def acknowledged(process: asyncio.subprocess.Process) -> str:
    """The next token id that the process wrote; empty at its end."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()
