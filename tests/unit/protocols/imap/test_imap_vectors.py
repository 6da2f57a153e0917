"""Known attacks and oddities before an IMAP log-in, fed to the dialogue by hand.

Every stream is fed whole, octet by octet, and in two pieces at every place: the outcome must be the same.
"""

import pytest

from gatekeeper.enforcement.imap.dialogue import ImapDialogue
from gatekeeper.enforcement.imap.replies import RefusalCode
from testkit.gate_fakes import ScriptedPeer, splits
from testkit.imap_rows import OFFERS, ROWS, Row


@pytest.mark.parametrize("way", ["whole", "octet by octet", "in two"])
@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_what_a_client_gets(row: Row, way: str) -> None:
    """The stream has one outcome, however it is cut: replies, log-ins, octets for the mail server, the end."""
    for pieces in splits(row.sent)[way]:
        peer = ScriptedPeer(
            upstream_offers=OFFERS,
            outcomes=row.outcomes,
            is_encrypted=not row.in_the_clear,
            takes_credentials=not row.in_the_clear,
            offers_tls=row.in_the_clear,
        )
        dialogue = ImapDialogue(peer, RefusalCode.UNAVAILABLE)
        for piece in pieces:
            peer.feed(dialogue, piece)

        got = (peer.told, peer.logins, peer.upstream, peer.closed, peer.exposed)
        assert got == (row.told, row.logins, row.upstream, row.closed, row.exposed), pieces[0][-40:]


@pytest.mark.parametrize("id_", ["T01"])
@pytest.mark.parametrize("way", ["whole", "octet by octet", "in two"])
def test_octets_behind_starttls_are_never_commands(id_: str, way: str) -> None:
    """What follows STARTTLS is given to the flow as leftover, or arrives later as no octet of the dialogue's."""
    sent = b"a STARTTLS\r\nb NOOP\r\n"
    for pieces in splits(sent)[way]:
        peer = ScriptedPeer(is_encrypted=False, takes_credentials=False, offers_tls=True)
        dialogue = ImapDialogue(peer, RefusalCode.UNAVAILABLE)
        fed = b""
        for piece in pieces:
            peer.feed(dialogue, piece)
            fed += piece
            if peer.tls:
                break

        assert peer.tls == [(b"a OK Begin TLS now.\r\n", fed[len(b"a STARTTLS\r\n") :])]
        assert peer.told == b""


def test_every_row_is_there_once() -> None:
    """Ids name one row each."""
    assert len({row.id for row in ROWS}) == len(ROWS)
