"""The stream of a mail server's responses: lists lose what phones must not see, everything else passes as it is."""

import pytest

from gatekeeper.protocols.imap.responses import Responses

EDITED = {
    "untagged": (b"* CAPABILITY IMAP4rev1 LOGIN-REFERRALS IDLE\r\n", b"* CAPABILITY IMAP4rev1 IDLE\r\n"),
    "lower-case": (b"* capability imap4rev1 auth=plain Idle starttls\r\n", b"* capability imap4rev1 Idle\r\n"),
    "tagged-code": (b"a OK [CAPABILITY IMAP4rev1 AUTH=X] hi\r\n", b"a OK [CAPABILITY IMAP4rev1] hi\r\n"),
    "untagged-code": (b"* OK [CAPABILITY PROXYAUTH X]\r\n", b"* OK [CAPABILITY X]\r\n"),
    "code-of-a-refusal": (b"a no [capability X UNAUTHENTICATE] hi\r\n", b"a no [capability X] hi\r\n"),
    "code-of-a-continuation": (b"+ [CAPABILITY X AUTH=Y] go on\r\n", b"+ [CAPABILITY X] go on\r\n"),
    "nothing-left": (b"* CAPABILITY STARTTLS\r\n", b"* CAPABILITY\r\n"),
    "several-spaces": (b"* CAPABILITY  A   STARTTLS  B \r\n", b"* CAPABILITY  A  B \r\n"),
    "bare-LF": (b"* CAPABILITY A STARTTLS\n* OK\n", b"* CAPABILITY A\n* OK\n"),
    "after-a-literal": (
        b"* 1 FETCH (BODY[] {5}\r\nhello UID 3)\r\n* CAPABILITY A STARTTLS\r\n",
        b"* 1 FETCH (BODY[] {5}\r\nhello UID 3)\r\n* CAPABILITY A\r\n",
    ),
    "after-words-like-a-literal": (
        b"a NO no mailbox {30}\r\n* CAPABILITY A STARTTLS\r\n",
        b"a NO no mailbox {30}\r\n* CAPABILITY A\r\n",
    ),
    "a-long-tag": (b"a" * 2_000 + b" OK [CAPABILITY STARTTLS A]\r\n", b"a" * 2_000 + b" OK [CAPABILITY A]\r\n"),
    "no-capability-is-as-long": (b"* CAPABILITY A " + b"B" * 2000 + b" C\r\n", b"* CAPABILITY A C\r\n"),
}
UNTOUCHED = {
    "a-clean-list": b"* CAPABILITY IMAP4rev1 IDLE LITERAL+\r\n",
    "a-clean-code": b"a OK [CAPABILITY IMAP4rev1] hi\r\n",
    "in-a-message": b"* 1 FETCH (BODY[] {29}\r\n* CAPABILITY A LOGINDISABLED\r\n)\r\n",
    "in-a-binary-literal": b"* 1 FETCH (BINARY[1] ~{29}\r\n* CAPABILITY A LOGINDISABLED\r\n)\r\n",
    "in-the-second-literal": b"* 1 FETCH (A {0}\r\n B {26}\r\n\r\n* CAPABILITY X STARTTLS\r\n)\r\n",
    "in-a-quoted-string": b'* 1 FETCH (ENVELOPE ("* CAPABILITY STARTTLS" NIL))\r\n',
    "in-the-text": b"* OK see [CAPABILITY STARTTLS]\r\n",
    "in-another-code": b"* OK [ALERT] [CAPABILITY STARTTLS]\r\n",
    "another-word": b"* CAPABILITYX STARTTLS\r\n",
    "a-code-without-a-list": b"a OK [CAPABILITY] AUTH=PLAIN\r\n",
    "a-longer-code": b"a OK [CAPABILITYX STARTTLS]\r\n",
    "no-response": b"hello\r\n\r\n\n \r\n* \r\n*\r\n+\r\n+ \r\na\r\na \r\na OK\r\na OK \r\n",
    "long-lines": b"* SEARCH" + b" 12345" * 50_000 + b"\r\na OK done\r\n",
}


def edited(octets: bytes, size: int) -> bytes:
    responses = Responses()
    return b"".join(bytes(responses.edit(octets[at : at + size])) for at in range(0, len(octets), size))


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(("said", "told"), EDITED.values(), ids=EDITED)
def test_lists_lose_what_phones_must_not_see(said: bytes, told: bytes, size: int) -> None:
    """Wherever a list stands, and however it is cut."""
    assert edited(said, size) == told


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
@pytest.mark.parametrize("said", UNTOUCHED.values(), ids=UNTOUCHED)
def test_everything_else_passes_as_it_is(said: bytes, size: int) -> None:
    """Octets of literals, quoted strings and texts are nobody's list."""
    if size > 1 or len(said) < 100_000:
        assert edited(said, size) == said


def test_what_passes_is_not_copied() -> None:
    """Octets of a literal, and lines of no interest, come back as the very object."""
    responses = Responses()
    for said in (b"* 1 EXISTS\r\na OK [READ-WRITE] done\r\n", memoryview(b"* 2 EXISTS\r\n")):
        assert responses.edit(said) is said
    responses.edit(b"* 1 FETCH (BODY[] {100}\r\n")
    literal = memoryview(b"x" * 100)
    assert responses.edit(literal) is literal
    assert responses.edit(b")\r\n* CAPABILITY STARTTLS\r\n") == b")\r\n* CAPABILITY\r\n"


def test_only_a_word_of_a_list_waits_for_its_end() -> None:
    """Whatever else has come has passed: a server may pause anywhere, and may not speak IMAP any more (COMPRESS)."""
    said = b"* 1 FETCH (BODY[] {3}\r\nabc)\r\na OK [CAPABILITY A STARTTLS] b\r\n* CAPABILI"
    responses = Responses()
    given = told = b""
    for at in range(len(said)):
        given += said[at : at + 1]
        told += bytes(responses.edit(said[at : at + 1]))
        assert len(given) - len(told) <= len(b" STARTTLS")
    assert told == said.replace(b" STARTTLS", b"")


def test_memory_is_bounded() -> None:
    """Lines without end, tags without end, words without end: no more than a few KiB are kept."""
    for endless in (b"* SEARCH", b"a", b"* OK [CAPABILITY ", b"* CAPABILITY ", b"+", b"* 1 FETCH ("):
        responses = Responses()
        responses.edit(endless)
        for _ in range(100):
            responses.edit(b"9" * 1000)
            assert len(responses._head) + len(responses._tail) + len(responses._word) < 10_000
