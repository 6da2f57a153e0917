"""The mail servers' addresses in a composed gate: looked at, told, and kept by a reload."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gatekeeper.config.load import load
from gatekeeper.domain.request import MailProtocol
from gatekeeper.server import compose, health
from gatekeeper.server.admin import control_app
from gatekeeper.server.probe import look
from gatekeeper.server.reload import reload
from testkit.configuration import Configuration
from testkit.ports import free_port

from .conftest import House

GONE = "127.0.0.1:9"
"""Nothing listens there."""


@contextmanager
def _imap_server(port: int = 0) -> Iterator[str]:
    """A server that tells what it offers, to everybody who asks; its address."""

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            with sock, suppress(OSError):  # whoever asks may leave at any point
                sock.settimeout(10)
                sock.sendall(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2] ready\r\n")
                while sock.recv(1000):
                    pass

    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


async def _use(house: House, imap: list[str]) -> None:
    house.configuration.write({"upstream": {"imap": {"address": imap}}})
    outcome = await reload(house.gatekeeper)
    assert outcome.reloaded, outcome.faults


def _state(house: House) -> dict[str, str]:
    pool = house.gatekeeper.upstreams[MailProtocol.IMAP]
    return {upstream.place: health.fault for upstream, health in pool.health().items()}


async def test_every_address_is_looked_at(house: House) -> None:
    """Who does not answer is out; what the first that is up offers is offered to phones."""
    with _imap_server() as up:
        await _use(house, [GONE, up])
        await look(house.gatekeeper)
        assert _state(house) == {GONE: "nothing listens at the mail server's address", up: ""}
        assert "AUTH=XOAUTH2" in house.gatekeeper.fronts["imaps"].upstream_offers
        metrics = house.gatekeeper.metrics.text().decode()
        labels = 'host="127.0.0.1",protocol="imap"}'
        assert f'gatekeeper_upstream_up{{address="{up}",{labels} 1.0' in metrics
        assert f'gatekeeper_upstream_up{{address="{GONE}",{labels} 0.0' in metrics
        assert f'gatekeeper_upstream_failures_total{{address="{GONE}",{labels} 1.0' in metrics


async def test_an_address_that_is_out_comes_back_when_it_answers(house: House) -> None:
    """By the look at those that are out; those that are known to be up are left alone by it."""
    with _imap_server(free_port()) as up:
        await _use(house, [up])
        pool = house.gatekeeper.upstreams[MailProtocol.IMAP]
        (known,) = pool.health().values()
        assert str(known) == "not looked at yet"
        await look(house.gatekeeper, only_out=True)
        assert str(known) == "up"
    await look(house.gatekeeper, only_out=True)
    assert pool.is_up
    await look(house.gatekeeper)
    assert not pool.is_up
    with _imap_server(int(up.rpartition(":")[2])):
        await look(house.gatekeeper, only_out=True)
        assert pool.is_up


async def test_the_gate_is_not_ready_when_no_mail_server_is_up(house: House) -> None:
    """While one protocol works the gate stays: taking it away would stop that one too."""
    with _imap_server() as up:
        await _use(house, [up])
        await look(house.gatekeeper)
        assert not house.gatekeeper.upstreams[MailProtocol.SMTP].is_up
        assert health.checks(house.gatekeeper)["mail_servers"] == "ok"
    await look(house.gatekeeper)
    said = health.checks(house.gatekeeper)["mail_servers"]
    assert said.startswith(f"none is up: imap {up}: nothing listens")
    assert "; smtp 127.0.0.1:9: " in said
    async with TestClient(TestServer(control_app(house.gatekeeper, lambda: None))) as client:
        status = await (await client.get("/status")).json()
    assert status["mail_servers"]["imap"] == {up: "nothing listens at the mail server's address"}


async def test_a_reload_keeps_what_is_known_of_addresses_that_stay(house: House) -> None:
    """A log-in right after it does not try again what is known to be out."""
    await _use(house, [GONE, "127.0.0.1:10"])
    await look(house.gatekeeper)
    await _use(house, ["127.0.0.1:11", GONE])
    fronts = house.gatekeeper.fronts
    assert _state(house) == {"127.0.0.1:11": "", GONE: "nothing listens at the mail server's address"}
    assert fronts["imaps"].upstream is house.gatekeeper.upstreams[MailProtocol.IMAP]
    assert fronts["imaps"].upstream.order[0].port == 11


async def test_a_probe_that_breaks_does_not_stop_the_others(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug met at one server is logged, and the next look goes on."""
    monkeypatch.setattr("gatekeeper.server.probe.points", dict)
    async with asyncio.timeout(30):
        await look(house.gatekeeper)
    assert house.gatekeeper.upstreams[MailProtocol.IMAP].is_up


def test_a_name_stands_for_all_of_its_addresses(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is an address of its own, verified by the name; one that cannot be looked up is left out, and noted."""
    known = {"mail.example": ["192.0.2.1", "2001:db8::1"], "127.0.0.1": ["127.0.0.1"]}

    def resolve(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    names = ["mail.example:993", "gone.example:993"]
    configuration.write({"upstream": {"imap": {"address": names, "tls": "implicit"}}})
    pool = compose.upstreams(load(configuration.path, {}))[MailProtocol.IMAP]
    assert [upstream.place for upstream in pool.order] == ["192.0.2.1:993", "[2001:db8::1]:993"]
    assert {upstream.host for upstream in pool.order} == {"mail.example"}
    assert pool.unresolved == ("`gone.example` cannot be resolved: [Errno -2] Name or service not known",)
    configuration.write({"upstream": {"imap": {"address": "gone.example:993"}}})
    with pytest.raises(OSError, match=r"gone\.example"):
        compose.upstreams(load(configuration.path, {}))
