"""The one way for the demo to wait for something that gives no notice: look again under a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_STEP_S = 0.01


async def eventually(look: Callable[[], Awaitable[T | None]], *, within_s: float, what: str) -> T:
    """The first true value of `look`; raises TimeoutError saying `what` was waited for."""
    try:
        async with asyncio.timeout(within_s):
            while not (found := await look()):  # noqa: ASYNC110  a file or another process sets no event of ours
                await asyncio.sleep(_STEP_S)  # the only pause of the demo
            return found
    except TimeoutError:
        raise TimeoutError(f"not within {within_s:g} s: {what}") from None
