"""Any octets at all, in any pieces: the same events, replies, log-ins and steps, in bounds, and nothing is raised.

For every law of `testkit.laws`, with the words of its fuzzer. Derandomized: the same examples on every run.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testkit.laws import LAWS, close_loop

LAW = settings(max_examples=150, deadline=None, derandomize=True)
_DICTIONARIES = Path(__file__).parents[1] / "fuzz" / "words"
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_LONG = (b"x" * 4000, b"A" * 8192, b"A" * 40_000, b"\r\n" * 200, b"\0", b"\xff\r\n")


@pytest.fixture(scope="module", autouse=True)
def _loop_closed() -> Iterator[None]:
    yield
    close_loop()


def words(name: str) -> list[bytes]:
    """Read a dictionary of libFuzzer's."""
    lines = (_DICTIONARIES / f"{name}.dict").read_bytes().splitlines()
    return [_ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), line.strip(b'"')) for line in lines]


def talk(name: str) -> st.SearchStrategy[bytes]:
    """Octets that look enough like the protocol to get deep into the parser, or none of it."""
    word = st.one_of(st.sampled_from([*words(name), *_LONG]), st.binary(max_size=8))
    return st.lists(word, max_size=40).map(b"".join)


def cut(data: st.DataObject, sent: bytes) -> list[bytes]:
    """The octets in pieces."""
    ends = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=12)) | {0, len(sent)})
    return [sent[a:b] for a, b in pairwise(ends)]


@pytest.mark.parametrize("name", LAWS)
@LAW
@given(data=st.data())
def test_any_pieces_give_the_same(name: str, data: st.DataObject) -> None:
    """What the whole gives, any pieces of it give."""
    sent = data.draw(talk(name))

    assert LAWS[name](cut(data, sent)) == LAWS[name]([sent])


@pytest.mark.parametrize("name", LAWS)
@LAW
@given(sent=st.binary(max_size=3000))
def test_garbage_is_harmless(name: str, sent: bytes) -> None:
    """Any octets at all are read to an end."""
    LAWS[name]([sent])
