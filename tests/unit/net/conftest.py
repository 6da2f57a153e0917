"""An event loop on the poller, and a CA."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing

import pytest

from testkit.loops import CountingPoller, poller_loop, poller_of
from testkit.relay_bench import RelayBench
from testkit.tls import Authority, server_context


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test in this directory runs on the poller."""
    return {"poller": poller_loop}


@pytest.fixture
async def poller() -> CountingPoller:
    """The poller under the running loop."""
    return poller_of(asyncio.get_running_loop())


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates the tests' servers have."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="package")
def for_server(authority: Authority) -> ssl.SSLContext:
    """A server's context for `localhost`."""
    return server_context(authority.server_certificate("server"))


@pytest.fixture(scope="package")
def for_client(authority: Authority) -> ssl.SSLContext:
    """A client's context that trusts it."""
    return authority.client_context()


@pytest.fixture(autouse=True)
def _no_sockets_left() -> Iterator[None]:
    """A socket that a test leaves to the collector is told in that test, not in a later one."""
    yield
    gc.collect()


@pytest.fixture
async def bench(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext
) -> AsyncIterator[RelayBench]:
    """A relay and what was made on it, cleared up."""
    bench = RelayBench(poller, for_server, for_client)
    yield bench
    for owned in bench.made:
        owned.close()


@pytest.fixture
async def other_bench(for_server: ssl.SSLContext, for_client: ssl.SSLContext) -> AsyncIterator[RelayBench]:
    """The same on a poller that no loop turns."""
    with closing(CountingPoller()) as elsewhere:
        other = RelayBench(elsewhere, for_server, for_client)
        yield other
        for owned in other.made:
            owned.close()
