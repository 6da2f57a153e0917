"""What texts from outside may contain."""

import pytest

from gatekeeper.attestation.bounds import flaw, name_flaw


@pytest.mark.parametrize("text", ["Notes", "\u200eWhatsApp", "日本語", "a b", "👩‍💻"])
def test_display_texts_of_real_apps_are_taken(text: str) -> None:
    """Invisible marks and all scripts occur in real app names."""
    assert flaw(text, 64) is None


@pytest.mark.parametrize("text", ["", "a\nb", "a\x00", "\x7f", "\x85", "\ud800", "\u2028", "x" * 65])
def test_display_texts_that_cannot_be_written_as_they_are_get_refused(text: str) -> None:
    """Controls, half characters, line separators, empty and overlong texts."""
    assert flaw(text, 64) is not None


@pytest.mark.parametrize("text", ["com.example.notes", "ph-001", "a b", "Ünïcode"])
def test_plain_names_are_taken(text: str) -> None:
    """A name is any printable text."""
    assert name_flaw(text) is None


@pytest.mark.parametrize("text", ["", " a", "a ", "com.\u200bx", "com.x\u00a0y", "a\tb", "x" * 256])
def test_names_hide_nothing(text: str) -> None:
    """Two names that look alike must not differ by something invisible."""
    assert name_flaw(text) is not None
