"""What parent and workers say to each other: whole documents, or nothing."""

import socket

import pytest

from gatekeeper.server.workers.channel import MAX_OCTETS, ChannelClosed, Message, pair


def test_documents_come_whole_and_in_order_with_their_sockets() -> None:
    """Also when the other side is gone meanwhile."""
    one, other = pair()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert one.send(Message("prepare", 7, {"names": ["imaps"]}), [listening])
        port = listening.getsockname()[1]
    assert one.send(Message("drain"))
    one.close()
    coming = other.receive()
    first, second = next(coming), next(coming)
    assert (first.kind, first.number, first.body) == ("prepare", 7, {"names": ["imaps"]})
    (passed,) = first.sockets
    assert passed.getsockname()[1] == port
    assert second == Message("drain")
    with pytest.raises(ChannelClosed):
        next(coming)
    passed.close()
    other.close()


def test_what_does_not_fit_is_not_sent() -> None:
    """A document that is too large, and one too many for a side that does not read: the sender is told."""
    one, other = pair()
    assert not one.send(Message("answer", 1, "x" * MAX_OCTETS))
    assert list(other.receive()) == []
    sent = 0
    while one.send(Message("guess", 0, "x" * 1000)):
        sent += 1
    assert len(list(other.receive())) == sent > 10
    assert one.send(Message("guess"))
    one.close()
    other.close()
