"""Syslog over TLS to a real receiver: framing, certificates, and what counts as acknowledged."""

import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatekeeper.adapters.sinks.shipping.channel import PeerFailed
from gatekeeper.adapters.sinks.shipping.settings import SyslogPeer, Tls
from gatekeeper.adapters.sinks.shipping.syslog import SyslogChannel, SyslogConnection, connect
from testkit.audit_log import ORIGIN, log_of
from testkit.ports import LOOPBACK, free_port
from testkit.receivers import Certificates, SyslogReceiver, mutual
from testkit.tls import Authority
from testkit.waiting import eventually

LINES = log_of(200)


@pytest.fixture
def peer(certificates: Certificates, syslog: SyslogReceiver) -> SyslogPeer:
    return SyslogPeer(host="localhost", port=syslog.port, tls=certificates.tls, hostname="gate-1")


@pytest.fixture
def channel(peer: SyslogPeer) -> Iterator[SyslogChannel]:
    channel = SyslogChannel(peer, ORIGIN)
    yield channel
    channel.close()


def test_every_record_arrives_as_it_stands_in_the_log(channel: SyslogChannel, syslog: SyslogReceiver) -> None:
    """One connection, octet-counted frames, MSG the line without its newline."""
    for start in range(0, 200, 64):
        channel.send(start, LINES[start : start + 64])
    channel.confirm()
    got = syslog.wait_for(200)
    assert [message.partition(b'"] ')[2] + b"\n" for message in got] == LINES
    assert all(message.split(b" ")[2:4] == [b"gate-1", b"gatekeeper"] for message in got)
    assert syslog.connections == 1


def test_a_receiver_that_takes_nothing_acknowledges_nothing(
    channel: SyslogChannel, syslog: SyslogReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its TCP window is full: what is in our queue is not with it."""
    monkeypatch.setattr("gatekeeper.adapters.sinks.shipping.syslog.TIMEOUT_S", 0.3)
    syslog.is_reading.clear()
    with pytest.raises((PeerFailed, TimeoutError)):
        _send_for_ever(channel)


def test_a_receiver_that_hangs_up_is_noticed_with_nothing_to_send(
    channel: SyslogChannel, syslog: SyslogReceiver
) -> None:
    """And the next attempt makes a new connection."""
    channel.send(0, LINES[:1])
    channel.confirm()
    syslog.wait_for(1)
    syslog.hang_up()

    def is_lost() -> bool:
        try:
            channel.idle()
        except (PeerFailed, OSError):
            return True
        return False

    eventually(is_lost, within=20)
    channel.close()
    channel.send(1, LINES[1:2])
    channel.confirm()
    syslog.wait_for(2)
    assert syslog.connections == 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_receiver_that_refuses_our_certificate_acknowledges_nothing(
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
    version: ssl.TLSVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With TLS 1.3 the handshake looks done to us, and its TCP takes what we send all the same."""
    monkeypatch.setattr("gatekeeper.adapters.sinks.shipping.syslog.REFUSED_WITHIN_S", 20)
    strangers = Authority(tmp_path_factory.mktemp("strangers"), "strangers")
    context = mutual(certificates.server, strangers)
    context.minimum_version = context.maximum_version = version
    receiver = SyslogReceiver(context)
    try:
        channel = SyslogChannel(SyslogPeer(host="localhost", port=receiver.port, tls=certificates.tls), ORIGIN)
        with pytest.raises((PeerFailed, OSError)):
            _send_one(channel)
        channel.close()
        assert receiver.messages == []
    finally:
        receiver.stop()


@pytest.mark.parametrize("what", ["another CA", "another name"])
def test_a_receiver_that_cannot_prove_itself_gets_nothing(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory, what: str
) -> None:
    """Neither one that we do not know, nor another one of those that we do."""
    stranger = Authority(tmp_path_factory.mktemp("strangers"), "strangers")
    is_named = what == "another CA"
    pair = (stranger if is_named else certificates.authority).server_certificate(
        f"false-{is_named}", "localhost" if is_named else "elsewhere.example.com"
    )
    receiver = SyslogReceiver(mutual(pair, certificates.authority))
    try:
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(SyslogPeer(host="localhost", port=receiver.port, tls=certificates.tls))
    finally:
        receiver.stop()


def test_what_the_receiver_says_is_dropped() -> None:
    """However much it is."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        said = threading.Event()

        def talk() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(b"x" * 100_000)
                said.set()
                while sock.recv(4096):
                    pass

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        connection = SyslogConnection(SyslogPeer(host=LOOPBACK, port=listener.getsockname()[1], tls=None))
        connection.look()
        assert said.wait(20)
        connection.send(b"1 x")
        connection.confirm()
        connection.close()
        thread.join(20)


def test_a_receiver_that_is_not_there_is_an_error(peer: SyslogPeer) -> None:
    """Which says what is wrong."""
    with pytest.raises(ConnectionRefusedError):
        connect(replace(peer, port=free_port()))


def test_a_damaged_record_is_not_sent(channel: SyslogChannel, syslog: SyslogReceiver) -> None:
    """Somebody changed the log under us."""
    with pytest.raises(PeerFailed, match="record 8"):
        channel.send(7, [LINES[7], b"{}\n"])
    assert syslog.messages == []


def test_files_are_read_again_for_each_connection(certificates: Certificates, syslog: SyslogReceiver) -> None:
    """A certificate that was renewed is used without a restart; one that is gone is an error."""
    gone = Tls(ca=certificates.authority.ca_file.with_name("gone.pem"))
    with pytest.raises(FileNotFoundError):
        connect(SyslogPeer(host="localhost", port=syslog.port, tls=gone))


def _send_one(channel: SyslogChannel) -> None:
    channel.send(0, LINES[:1])
    channel.confirm()


def _send_for_ever(channel: SyslogChannel) -> None:
    while True:
        channel.send(0, LINES)
        channel.confirm()
