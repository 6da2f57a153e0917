"""Records by HTTPS to a real server: batches, answers, certificates."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.shipping.channel import PeerFailed, TooLarge
from gatekeeper.adapters.sinks.shipping.http import HttpChannel, HttpConnection
from gatekeeper.adapters.sinks.shipping.settings import HttpPeer, Tls
from testkit.audit_log import ORIGIN, log_of
from testkit.ports import free_port
from testkit.receivers import Certificates, HttpReceiver

LINES = log_of(200)


@pytest.fixture
def peer(certificates: Certificates, collector: HttpReceiver) -> HttpPeer:
    return HttpPeer(url=collector.url, tls=certificates.tls)


@pytest.fixture
def channel(peer: HttpPeer) -> Iterator[HttpChannel]:
    channel = HttpChannel(peer, ORIGIN, 500)
    yield channel
    channel.close()


def test_a_batch_is_the_lines_of_the_log_with_their_numbers(channel: HttpChannel, collector: HttpReceiver) -> None:
    """JSON lines, octet by octet; log and numbers in headers, so that repeats can be told apart unread."""
    channel.send(40, LINES[40:90])
    channel.confirm()
    (posted,) = collector.posted
    assert posted.body == b"".join(LINES[40:90])
    assert posted.path == "/audit?from=gate"
    assert posted.headers["Content-Type"] == "application/x-ndjson"
    assert posted.headers["Gatekeeper-Log"] == ORIGIN
    assert posted.headers["Gatekeeper-Records"] == "40-89"
    assert posted.headers["Idempotency-Key"] == f'"{ORIGIN}#40-89"'
    assert "Authorization" not in posted.headers


@pytest.mark.parametrize("status", [301, 400, 401, 404, 500, 503])
def test_anything_but_2xx_is_no_acknowledgement(channel: HttpChannel, collector: HttpReceiver, status: int) -> None:
    """Redirects are not followed either."""
    collector.answers.status = status
    collector.answers.headers = {"Location": "/elsewhere"}
    with pytest.raises(PeerFailed, match=f"it answered {status}"):
        channel.send(0, LINES[:1])
    assert len(collector.posted) == 1
    collector.answers.status = 202
    channel.send(0, LINES[:1])


@pytest.mark.parametrize(("said", "wait_s"), [("7", 7.0), ("99999", 300.0), ("soon", 0.0), ("-1", 0.0)])
def test_a_server_that_asks_for_time_gets_it(
    channel: HttpChannel, collector: HttpReceiver, said: str, wait_s: float
) -> None:
    """Within bounds."""
    collector.answers.status = 429
    collector.answers.headers = {"Retry-After": said}
    with pytest.raises(PeerFailed) as caught:
        channel.send(0, LINES[:1])
    assert caught.value.wait_s == wait_s


def test_what_is_too_large_is_halved_and_grows_again(channel: HttpChannel, collector: HttpReceiver) -> None:
    """Until the server takes it; what does not fit alone is an error."""
    collector.answer = lambda posted: (413 if len(posted.body.splitlines()) > 30 else 200, b"")
    with pytest.raises(TooLarge):
        channel.send(0, LINES[:100])
    assert channel.batch == 50
    channel.batch = 25
    channel.send(0, LINES[:25])
    assert channel.batch == 50
    collector.answer = lambda _: (413, b"")
    with pytest.raises(PeerFailed, match="413"):
        channel.send(0, LINES[:1])


def test_a_long_batch_goes_in_parts(
    channel: HttpChannel, collector: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of at most so many octets, each with its own numbers, none without a record."""
    monkeypatch.setattr("gatekeeper.adapters.sinks.shipping.http.MOST_OCTETS", len(LINES[1]) * 2)
    channel.send(1, LINES[1:6])
    assert [posted.headers["Gatekeeper-Records"] for posted in collector.posted] == ["1-2", "3-4", "5-5"]
    monkeypatch.setattr("gatekeeper.adapters.sinks.shipping.http.MOST_OCTETS", 1)
    channel.send(1, LINES[1:3])
    assert collector.lines == [line[:-1] for line in [*LINES[1:6], *LINES[1:3]]]


def test_a_connection_that_the_server_closed_meanwhile_is_made_again(
    certificates: Certificates, collector: HttpReceiver
) -> None:
    """Once: it may have taken the batch, and then gets it twice."""
    connection = HttpConnection(HttpPeer(url=collector.url, tls=certificates.tls))
    collector.answers.headers = {"Connection": "close"}
    assert connection.post(b"1\n", {}).status == 200
    collector.answers.headers = {}
    assert connection.post(b"2\n", {}).status == 200
    assert connection._connection is not None
    assert connection._connection.sock is not None
    connection._connection.sock.shutdown(2)
    assert connection.post(b"3\n", {}).status == 200
    connection.close()
    assert collector.lines == [b"1", b"2", b"3"]


def test_the_token_is_read_again_for_each_connection(
    certificates: Certificates, collector: HttpReceiver, tmp_path: Path
) -> None:
    """And never more than a line of it."""
    token_file = tmp_path / "token"
    token_file.write_text("s3cret\n")
    connection = HttpConnection(HttpPeer(url=collector.url, tls=certificates.tls, token_file=token_file))
    connection.post(b"", {})
    token_file.write_text("n3w")
    connection.close()
    connection.post(b"", {})
    connection.close()
    assert [posted.headers["Authorization"] for posted in collector.posted] == ["Bearer s3cret", "Bearer n3w"]
    token_file.write_text("two\nlines")
    with pytest.raises(PeerFailed, match="one line"):
        connection.post(b"", {})


def test_a_server_that_cannot_prove_itself_gets_nothing(peer: HttpPeer, collector: HttpReceiver) -> None:
    """The system's authorities do not know it."""
    with pytest.raises(ssl.SSLCertVerificationError):
        HttpConnection(replace(peer, tls=Tls())).post(b"", {})
    assert collector.posted == []


def test_a_server_that_is_not_there_is_an_error(peer: HttpPeer) -> None:
    """Which is not tried twice."""
    with pytest.raises(ConnectionRefusedError):
        HttpConnection(replace(peer, url=f"http://127.0.0.1:{free_port()}/", tls=None)).post(b"", {})


def test_what_is_no_http_is_an_error(certificates: Certificates, collector: HttpReceiver) -> None:
    """Or has more headers than anybody needs."""
    collector.answers.headers = {f"X-{number}": "x" for number in range(200)}
    connection = HttpConnection(HttpPeer(url=collector.url, tls=certificates.tls))
    with pytest.raises(PeerFailed, match="no HTTP"):
        connection.post(b"", {})
    connection.close()
