"""The fuzzer's corpus as tests: seeds by hand, and everything that ever broke a law."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.laws import LAWS, close_loop, holds

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.fixture(scope="module", autouse=True)
def _loop_closed() -> Iterator[None]:
    yield
    close_loop()


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(CORPUS)) for path in FILES])
def test_laws_hold(path: Path) -> None:
    """Octets that once were interesting are read alike in any pieces, in bounds, and raise nothing."""
    octets = path.read_bytes()
    for cut in range(16):
        holds(LAWS[path.parent.name], bytes([cut]) + octets[1:])


def test_every_law_has_a_corpus() -> None:
    """Each directory belongs to a law, and no law begins from nothing."""
    assert {path.name for path in CORPUS.iterdir()} == set(LAWS)
