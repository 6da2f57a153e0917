"""Checkpoints: their one form, and who signed them."""

import base64

import metamorphic_log
import pytest

from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint, verified
from gatekeeper.signing.note import NoteError
from testkit.audit_log import ORIGIN
from testkit.merkle import KEY, OTHER_KEY

ROOT = bytes(range(32))
CHECKPOINT = Checkpoint(ORIGIN, 20852163, ROOT)


def test_a_checkpoint_is_signed_and_read_back() -> None:
    """Three lines; another key's signature means nothing."""
    data = CHECKPOINT.signed(KEY)
    assert data.decode().split("\n")[:4] == [ORIGIN, "20852163", base64.b64encode(ROOT).decode(), ""]
    assert read_checkpoint(data)[0] == CHECKPOINT
    assert verified(data, [KEY.verifier]) == CHECKPOINT
    assert verified(data, [OTHER_KEY.verifier]) is None


def test_a_foreign_implementation_accepts_it() -> None:
    """The package metamorphic-log, and it refuses another size."""
    text = CHECKPOINT.signed(KEY).decode()
    head = metamorphic_log.checkpoint_verify(text, [str(KEY.verifier)])
    assert (head.origin, head.size, head.root) == (ORIGIN, 20852163, ROOT)
    with pytest.raises(metamorphic_log.VerifyError):
        metamorphic_log.checkpoint_verify(text.replace("20852163", "20852162"), [str(KEY.verifier)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "origin\n",
        "origin\n5\n",
        "\n5\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n05\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n-5\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n\N{ARABIC-INDIC DIGIT FIVE}\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n" + "9" * 19 + "\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n5\nAAECAw==\n",
        "origin\n5\n!\n",
        "origin\n5\n\N{BULLET}\n",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    """One kind of error, which says what is missing."""
    with pytest.raises(NoteError, match="is no checkpoint"):
        Checkpoint.parse(text)


def test_a_changed_checkpoint_is_refused() -> None:
    """A lowered size under the old signature."""
    with pytest.raises(NoteError, match="does not fit"):
        verified(CHECKPOINT.signed(KEY).replace(b"20852163", b"20852162"), [KEY.verifier])
