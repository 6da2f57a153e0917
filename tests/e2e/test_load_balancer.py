"""The phone's address on its whole way: haproxy in front, the gate, and Dovecot and Postfix behind, which log it."""

import json
import shutil
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from testkit import haproxy as haproxy_server
from testkit.bed import ALICE, ALICE_PHONE, BOB
from testkit.dovecot import Dovecot
from testkit.gate import GateProcess, Record, code, detail, upstream
from testkit.haproxy import Haproxy, Line
from testkit.ports import LOOPBACK, free_port
from testkit.postfix import Postfix
from testkit.sessions import imap_login_reply, login_command, plain
from testkit.tls import Authority
from testkit.waiting import eventually
from testkit.wire import Wire

PHONE = "127.0.0.5"
"""The phones' address; the gate and haproxy have another."""
HAS_IPV6 = Path("/proc/net/if_inet6").exists() and "lo" in Path("/proc/net/if_inet6").read_text()
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")

UPSTREAMS = {
    "ID and XCLIENT": ("id", "xclient", "off"),
    "PROXY v1": ("proxy", "proxy", "off"),
    "PROXY v2": ("proxy-v2", "proxy-v2", "off"),
    "PROXY v1 before TLS": ("proxy", "xclient", "implicit"),
    "PROXY v2 before TLS": ("proxy-v2", "xclient", "implicit"),
}


@dataclass(frozen=True, slots=True)
class House:
    """haproxy, the gate and the mail servers."""

    gate: GateProcess
    haproxy: Haproxy
    dovecot: Dovecot
    postfix: Postfix

    @property
    def ports(self) -> dict[str, int]:
        """haproxy's, by name."""
        return self.haproxy.ports


MakeHouse = Callable[..., House]


@pytest.fixture(scope="module")
def make_house(
    make_gate_anywhere: Callable[..., GateProcess],
    dovecot: Dovecot,
    postfix: Postfix,
    servers_ca: Authority,
    devices_ca: Authority,
    stocked_store: Path,
) -> Iterator[MakeHouse]:
    """Return a builder of houses that stand as long as the tests of this file."""
    if haproxy_server.PROGRAM is None:
        pytest.skip("haproxy is not installed")
    stop: list[Callable[[], object]] = []

    def make(imap_way: str, smtp_way: str, mode: str, lines: Callable[[GateProcess, int], dict[str, Line]]) -> House:
        imap_port = {
            ("id", "off"): dovecot.imap_port,
            ("proxy", "off"): dovecot.imap_haproxy_port,
            ("proxy-v2", "off"): dovecot.imap_haproxy_port,
            ("proxy", "implicit"): dovecot.imaps_haproxy_port,
            ("proxy-v2", "implicit"): dovecot.imaps_haproxy_port,
        }[imap_way, mode]
        smtp = upstream(postfix.haproxy_port)
        if smtp_way == "xclient":
            smtp = upstream(postfix.xclient_port, mode="starttls", ca=servers_ca.ca_file)
        ca = None if mode == "off" else servers_ca.ca_file
        plain_port = free_port()
        gate = make_gate_anywhere(
            {
                "upstream": {
                    "imap": upstream(imap_port, mode=mode, ca=ca) | {"client_address": imap_way},
                    "smtp": smtp | {"client_address": smtp_way},
                },
                "audit": {"client_address": "full"},
            }
        )
        own = {"name": "plain", "protocol": "imap", "bind": f"{LOOPBACK}:{plain_port}", "tls": "off"}
        listeners = [*cast("list[dict[str, object]]", gate.configuration["listener"]), own]
        behind = [{**table, "proxy_protocol_from": [LOOPBACK]} for table in listeners]
        gate.write_configuration({**gate.configuration, "listener": behind})
        shutil.copy(stocked_store, gate.store_file)
        gate.start()
        stop.append(gate.discard)
        balancer = Haproxy(lines(gate, plain_port), servers_ca.server_certificate("balancer"), devices_ca.ca_file)
        stop.append(balancer.stop)
        return House(gate, balancer, dovecot, postfix)

    yield make
    for end in reversed(stop):
        end()


def _lines(gate: GateProcess, plain_port: int) -> dict[str, Line]:
    """Every kind of header; `tls` is where haproxy ends TLS itself and reports it, with a checksum."""
    ssl_options = "ssl crt {certificate} ca-file {ca} verify optional"
    lines = {
        "imaps-v1": Line(gate.ports.imaps, "send-proxy"),
        "imaps-v2": Line(gate.ports.imaps, "send-proxy-v2"),
        "imap-v2": Line(gate.ports.imap, "send-proxy-v2 proxy-v2-options crc32c,unique-id"),
        "tls": Line(plain_port, "send-proxy-v2-ssl-cn proxy-v2-options crc32c", ssl_options),
        "submissions-v1": Line(gate.ports.submissions, "send-proxy"),
        "submissions-v2": Line(gate.ports.submissions, "send-proxy-v2-ssl"),
    }
    if HAS_IPV6:
        lines["imaps-ipv6"] = Line(gate.ports.imaps, "send-proxy", host="::1")
        lines["submissions-ipv6"] = Line(gate.ports.submissions, "send-proxy-v2", host="::1")
    return lines


@pytest.fixture(scope="module", params=UPSTREAMS)
def house(request: pytest.FixtureRequest, make_house: MakeHouse) -> House:
    """Run a house for each way in which the mail servers are told."""
    imap_way, smtp_way, mode = UPSTREAMS[request.param]
    return make_house(imap_way, smtp_way, mode, _lines)


def _imap_login(wire: Wire) -> None:
    assert wire.line().startswith(b"* OK")
    assert wire.imap(b"in " + login_command(ALICE))[-1].startswith(b"in OK")


def _logged_address(house: House, log_in: Callable[[], None]) -> str:
    """Return the client's address in Dovecot's line about a log-in of ALICE: one about BOB's, refused, may come late."""
    line = f"Login: user=<{ALICE.login}>"
    before = house.dovecot.log().count(line)
    log_in()
    log = eventually(lambda: house.dovecot.log().split(line)[before + 1 :], within=15, what="a log-in in Dovecot's log")
    return log[0].partition("rip=")[2].partition(",")[0]


@pytest.mark.parametrize("kind", ["imaps-v1", "imaps-v2", "tls"])
def test_dovecot_sees_the_phone(house: House, context: ssl.SSLContext, kind: str) -> None:
    """Whichever header haproxy sends, and however the gate tells on: neither's own address."""

    def log_in() -> None:
        with Wire(house.ports[kind], context, source=PHONE) as wire:
            _imap_login(wire)

    assert _logged_address(house, log_in) == PHONE
    allowed = house.gate.wait_for_record(lambda record: code(record) == "GK1001I")
    assert allowed["src_endpoint"]["ip"] == PHONE
    assert detail(allowed)["via"] == LOOPBACK


def test_starttls_behind_a_load_balancer(house: House, context: ssl.SSLContext) -> None:
    """The header comes before the greeting, with a checksum and TLVs of no interest."""

    def log_in() -> None:
        with Wire(house.ports["imap-v2"], source=PHONE) as wire:
            wire.line()
            assert wire.imap(b"s STARTTLS")[-1].startswith(b"s OK")
            wire.start_tls(context)
            assert wire.imap(b"in " + login_command(ALICE))[-1].startswith(b"in OK")

    assert _logged_address(house, log_in) == PHONE


@needs_ipv6
def test_dovecot_sees_a_phone_with_an_ipv6_address(house: House, context: ssl.SSLContext) -> None:
    """Though haproxy, the gate and Dovecot speak IPv4 with each other."""

    def log_in() -> None:
        with Wire(house.ports["imaps-ipv6"], context, host="::1") as wire:
            _imap_login(wire)

    assert _logged_address(house, log_in) == "::1"


def _submit(wire: Wire) -> None:
    assert wire.smtp_reply()[-1].startswith(b"220")
    for command, code_ in (
        (b"EHLO phone.example.com", b"250"),
        (b"AUTH PLAIN " + plain(ALICE), b"235"),
        (b"MAIL FROM:<alice@example.com>", b"250"),
        (b"RCPT TO:<bob@example.com>", b"250"),
        (b"DATA", b"354"),
        (b"Subject: hello\r\n\r\nhello\r\n.", b"250"),
        (b"QUIT", b"221"),
    ):
        assert wire.smtp(command)[-1].startswith(code_), command


def _mails_from(house: House, address: str) -> int:
    return house.postfix.log().count(f"client=unknown[{address}], sasl_method=PLAIN, sasl_username={ALICE.login}")


@pytest.mark.parametrize("kind", ["submissions-v1", "submissions-v2"])
def test_postfix_sees_the_phone(house: House, context: ssl.SSLContext, kind: str) -> None:
    """By XCLIENT or a PROXY header; the mail goes through."""
    before = _mails_from(house, PHONE)
    with Wire(house.ports[kind], context, source=PHONE) as wire:
        _submit(wire)
    eventually(lambda: _mails_from(house, PHONE) == before + 1, within=15, what=house.postfix.log)


def test_a_phone_cannot_say_another_address(house: House, context: ssl.SSLContext) -> None:
    """Postfix takes XCLIENT from the gate; after it, or a PROXY header, it judges by the phone's address."""
    with Wire(house.ports["submissions-v1"], context, source=PHONE) as wire:
        wire.smtp_reply()
        wire.smtp(b"EHLO phone.example.com")
        assert wire.smtp(b"XCLIENT ADDR=192.0.2.9")[-1].startswith(b"500")
        assert wire.smtp(b"AUTH PLAIN " + plain(ALICE))[-1].startswith(b"235")
        assert wire.smtp(b"XCLIENT ADDR=192.0.2.9 LOGIN=bob@example.com")[-1][:1] == b"5"


def test_doctor_talks_to_servers_that_want_a_header(house: House) -> None:
    """Its probes begin with one about themselves."""
    findings = json.loads(house.gate.cli("doctor", "--json").stdout)
    found = {finding["test"]: finding["state"] for finding in findings if finding["test"].startswith("mail server")}
    assert found == {"mail server imap": "ok", "mail server smtp": "ok"}, findings
    assert "upstream.unreachable" not in house.gate.log()


@needs_ipv6
def test_postfix_sees_a_phone_with_an_ipv6_address(house: House, context: ssl.SSLContext) -> None:
    """As IPV6: in XCLIENT, as TCP6 in a PROXY header."""
    before = _mails_from(house, "::1")
    with Wire(house.ports["submissions-ipv6"], context, host="::1") as wire:
        _submit(wire)
    eventually(lambda: _mails_from(house, "::1") == before + 1, within=15, what=house.postfix.log)


def test_a_certificate_at_the_load_balancer_is_a_fact_and_no_binding(
    make_house: MakeHouse, servers_ca: Authority, devices_ca: Authority
) -> None:
    """Bob's phone is denied; Alice's certificate, shown to haproxy, does not make it hers. The record tells what was said."""
    house = make_house("id", "xclient", "off", lambda gate, port: {"tls": _lines(gate, port)["tls"]})
    context = servers_ca.client_context(devices_ca.device_certificate(ALICE_PHONE))
    with Wire(house.ports["tls"], context, source=PHONE) as wire:
        wire.line()
        assert wire.imap(b"in " + login_command(BOB))[-1].startswith(b"in NO [UNAVAILABLE]")
    facts = detail(house.gate.wait_for_record(lambda record: code(record) == "GK1002W"))
    assert (facts["binding"], facts["via"]) == ("user", LOOPBACK)
    assert facts["via_tls"].startswith("TLSv1.")
    assert (facts["via_certificate_verified"], facts["via_common_name"]) == (True, ALICE_PHONE)


def test_health_checks_are_no_noise(make_house: MakeHouse, context: ssl.SSLContext) -> None:
    """Haproxy's LOCAL checks keep its server up, and one record counts them all; a phone beside them has its own."""

    def lines(gate: GateProcess, plain_port: int) -> dict[str, Line]:
        check = "check check-send-proxy inter 100ms"  # which is how long a check may take to connect, too
        return {
            "imaps": Line(gate.ports.imaps, f"send-proxy-v2 {check}"),
            "plain": Line(plain_port, f"send-proxy-v2 {check}"),
        }

    house = make_house("id", "xclient", "off", lines)
    eventually(lambda: _accepted(house.gate, "imaps") > 5, within=10, what=house.haproxy.log)
    eventually(lambda: _accepted(house.gate, "plain") > 5, within=10, what=house.haproxy.log)
    with Wire(house.ports["imaps"], context, source=PHONE) as wire:
        _imap_login(wire)
    house.gate.wait_for_record(lambda record: code(record) == "GK1102I")
    assert "DOWN" not in house.haproxy.log()
    house.haproxy.stop_checking()  # one that is cut off has an end of its own
    house.haproxy.stop()
    accepted = {name: _accepted(house.gate, name) for name in ("imaps", "plain")}
    assert house.gate.stop() == 0

    records = [record for record in house.gate.audit_records() if code(record) == "GK1104I"]
    assert sorted(record["dst_endpoint"]["name"] for record in records) == ["imaps", "plain"]
    counted = {record["dst_endpoint"]["name"]: _count(record) for record in records}
    assert counted == {"imaps": accepted["imaps"] - 1, "plain": accepted["plain"]}
    assert {detail(record)["ended"] for record in records} == {"health_check"}
    assert {record["src_endpoint"]["ip"] for record in records} == {LOOPBACK}


def _accepted(gate: GateProcess, listener: str) -> int:
    (line,) = (
        line
        for line in gate.get("/metrics").body.decode().splitlines()
        if line.startswith(f'gatekeeper_connections_total{{listener="{listener}"}}')
    )
    return int(float(line.split()[-1]))


def _count(record: Record) -> int:
    return int(record.get("count", 1))


def test_the_gate_itself_is_closed_to_who_bring_no_header(house: House, context: ssl.SSLContext) -> None:
    """From a load balancer's network, past it: TLS without a header gets nowhere; from elsewhere it is served."""
    with Wire(house.gate.ports.imap) as wire:
        wire.send(b"a CAPABILITY\r\n")
        assert wire.rest(within=10) == b""
    refused = house.gate.wait_for_record(lambda record: detail(record).get("ended") == "proxy_header_malformed")
    assert refused["src_endpoint"]["ip"] == LOOPBACK
    with Wire(house.gate.ports.imaps, context, source=PHONE) as wire:
        _imap_login(wire)
    assert imap_login_reply(house.ports["imaps-v1"], context, BOB).startswith(b"NO [UNAVAILABLE]")
