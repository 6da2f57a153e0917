"""Attacks on EXTERNAL: whose mailbox a client certificate opens, on every protocol, is in the certificate alone."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.attack_bench import ALLOWED, ENDED, OVER, REFUSED, Bench, upstreams
from testkit.gate import detail
from testkit.imap_rows import base64_of
from testkit.inventory import TIKTOK, device
from testkit.spoken import SPOKEN, Spoken, listeners, port_of, recorders
from testkit.tls import Authority
from testkit.waiting import eventually
from testkit.wire import Wire

ALICE, BOB, MALLORY = "alice@example.com", "bob@example.com", "mallory@example.com"
SERVICE, PASSWORD = "service", "granite-otter"
OPENED = f"{ALICE}\0{SERVICE}\0{PASSWORD}".encode()


@pytest.fixture(scope="module")
def certified(make_bench: Callable[..., Bench], directory: Path, servers_ca: Authority, devices_ca: Authority) -> Bench:
    """Run a gate that logs in with a service account for phones which prove themselves by certificate."""
    secret = directory / "service-password"
    secret.write_text(PASSWORD + "\n")
    servers = recorders(passwords={SERVICE: PASSWORD})
    service = {"service_user": SERVICE, "service_password_file": str(secret)}
    tables = {protocol: {**table, **service} for protocol, table in upstreams(servers).items()}  # type: ignore[dict-item]  # a table
    made = make_bench(servers, {"listener": listeners(), "upstream": tables})
    made.gate.register(device("e-alice", ALICE), device("e-bob", BOB), device("e-mallory", MALLORY, TIKTOK))
    context = _shows(servers_ca, devices_ca, "e-alice", ALICE)
    eventually(
        lambda: all(b"EXTERNAL" in b" ".join(_greeted(made, name, context)) for name in SPOKEN),
        within=15,
        what="the gate to learn its mail servers' offers",
    )
    return made


def _shows(servers_ca: Authority, ca: Authority, phone: str, *emails: str) -> ssl.SSLContext:
    return servers_ca.client_context(ca.device_certificate(phone, *emails))


def _greeted(bench: Bench, protocol: str, context: ssl.SSLContext) -> list[bytes]:
    with _connect(bench, protocol, context) as wire:
        return SPOKEN[protocol].greeted(wire)


def _connect(bench: Bench, protocol: str, context: ssl.SSLContext) -> Wire:
    return Wire(port_of(bench.gate.configuration, protocol), context)


@pytest.fixture
def alices(servers_ca: Authority, devices_ca: Authority) -> ssl.SSLContext:
    """Return the context of ALICE's phone."""
    return _shows(servers_ca, devices_ca, "e-alice", ALICE)


@pytest.mark.parametrize("protocol", SPOKEN)
@pytest.mark.parametrize(
    "response", [b"", ALICE.encode(), b"ALICE@Example.COM"], ids=["E01", "E01-the-same", "E01-other-case"]
)
def test_the_certificate_says_whose_mailbox(
    certified: Bench, alices: ssl.SSLContext, protocol: str, response: bytes
) -> None:
    """The service account opens the certificate's mailbox, and the record names account, device and binding."""
    spoken = SPOKEN[protocol]
    watch = certified.watch(protocol)
    with _connect(certified, protocol, alices) as wire:
        spoken.greeted(wire)
        assert spoken.ask(wire, b"EXTERNAL", base64_of(response) or spoken.empty).startswith(spoken.accepted)
        wire.send(spoken.noop + b"\r\n")
        assert wire.line()
        source = wire.local_port
    assert watch.sasl() == [("PLAIN", OPENED)]
    assert watch.after_login()[0].endswith(spoken.noop + b"\r\n")
    allowed, over = certified.audit.of(source)
    assert [certified.codes(source), allowed["user"]["name"], allowed["auth_protocol"]] == [
        [ALLOWED, OVER],
        ALICE,
        "EXTERNAL",
    ]
    assert detail(allowed)["binding"] == "proven"
    assert detail(over)["ended"] in ("client", "client_aborted")


def _refused(spoken: Spoken) -> dict[str, tuple[bytes, bytes, list[str]]]:
    """Responses that ask for more than the certificate gives, the answer, and the records before the last one.

    What is no name at all is answered by the dialogue, and nobody's attempt.
    """
    return {
        "another": (BOB.encode(), spoken.not_another, [REFUSED]),
        "master-user": (f"{BOB}*{ALICE}".encode(), spoken.not_another, [REFUSED]),
        "service-account": (SERVICE.encode(), spoken.not_another, [REFUSED]),
        "look-alike": ("\uff41lice@example.com".encode(), spoken.not_another, [REFUSED]),
        "two-lines": (ALICE.encode() + b"\r\nx", spoken.not_another, []),
        "nul": (ALICE.encode() + b"\0" + BOB.encode(), spoken.not_another, []),
        "like-PLAIN": (OPENED, spoken.not_another, []),
        "not-utf-8": (b"\xff\xfe", spoken.wrong, []),
    }


@pytest.mark.parametrize("protocol", SPOKEN)
@pytest.mark.parametrize("kind", _refused(SPOKEN["imap"]), ids=lambda kind: f"E01-{kind}")
def test_the_response_does_not_say_whose_mailbox(
    certified: Bench, alices: ssl.SSLContext, protocol: str, kind: str
) -> None:
    """Any other name in the response is refused before the mail server hears of anything."""
    spoken = SPOKEN[protocol]
    response, answer, codes = _refused(spoken)[kind]
    watch = certified.watch(protocol)
    with _connect(certified, protocol, alices) as wire:
        spoken.greeted(wire)
        assert spoken.ask(wire, b"EXTERNAL", base64_of(response)) == answer
        source = wire.local_port
    assert watch.connections() == []
    assert certified.codes(source) == [*codes, ENDED]


@pytest.mark.parametrize("protocol", SPOKEN)
@pytest.mark.parametrize(
    "emails", [(), (ALICE, BOB), ("al*ice@example.com",), None], ids=["none", "two", "bad", "no-certificate"]
)
def test_e03_a_certificate_that_names_nobody_opens_nothing(
    certified: Bench, servers_ca: Authority, devices_ca: Authority, protocol: str, emails: tuple[str, ...] | None
) -> None:
    """EXTERNAL is neither offered nor taken, whatever the response says."""
    spoken = SPOKEN[protocol]
    context = servers_ca.client_context() if emails is None else _shows(servers_ca, devices_ca, "e-alice", *emails)
    watch = certified.watch(protocol)
    with _connect(certified, protocol, context) as wire:
        assert b"EXTERNAL" not in b" ".join(spoken.greeted(wire))
        assert spoken.ask(wire, b"EXTERNAL", base64_of(ALICE.encode())) == spoken.not_offered
        source = wire.local_port
    assert watch.connections() == []
    assert certified.codes(source) == [ENDED]


@pytest.mark.parametrize("protocol", SPOKEN)
def test_e01_a_strangers_certificate_gets_no_handshake(
    certified: Bench, servers_ca: Authority, tmp_path: Path, protocol: str
) -> None:
    """A certificate that names ALICE and is of another CA ends TLS: there is no dialogue to be in."""
    context = _shows(servers_ca, Authority(tmp_path, "strangers"), "e-alice", ALICE)
    watch = certified.watch(protocol)
    said = b""
    try:
        with _connect(certified, protocol, context) as wire:
            said = b"".join(SPOKEN[protocol].greeted(wire))
    except (ssl.SSLError, ConnectionError):
        pass  # the alert may come while the greeting is waited for, or before
    assert said == b""
    assert watch.connections() == []


@pytest.mark.parametrize("protocol", SPOKEN)
def test_e01_a_certificate_is_no_way_around_the_policy(
    certified: Bench, servers_ca: Authority, devices_ca: Authority, protocol: str
) -> None:
    """A denied app refuses; and ALICE's name on BOB's phone is another person's device, which is unknown."""
    spoken = SPOKEN[protocol]
    for phone, email in (("e-mallory", MALLORY), ("e-bob", ALICE)):
        watch = certified.watch(protocol)
        with _connect(certified, protocol, _shows(servers_ca, devices_ca, phone, email)) as wire:
            spoken.greeted(wire)
            assert b"Mail is paused" in spoken.ask(wire, b"EXTERNAL", spoken.empty)
            wire.send(spoken.noop + b"\r\n")
            wire.line()
            source = wire.local_port
        assert watch.after_login() in ([b""], [b"UNAUTHENTICATE\r\n"])
        assert ALLOWED not in certified.codes(source)
