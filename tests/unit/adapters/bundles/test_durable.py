"""Replacing a file: the old one or the new one."""

import os
from pathlib import Path

import pytest

from gatekeeper.adapters.bundles.durable import replace


def test_a_file_is_replaced(tmp_path: Path) -> None:
    """Made when it was not there."""
    path = tmp_path / "file"
    replace(path, b"one")
    replace(path, b"two")

    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """And leaves nothing beside it."""
    path = tmp_path / "file"
    replace(path, b"one")

    def fail(*_arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail) if call == "fsync" else monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        replace(path, b"two")

    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]
