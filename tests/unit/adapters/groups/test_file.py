"""Groups from a file that a directory exports."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.adapters.groups.file import MAX_FAULTS, GroupFile, read_groups
from gatekeeper.domain.document import DocumentError
from gatekeeper.ports.groups import Groups

SALES = {"CN=Sales": {"alice@example.com", "bob@example.com"}, "Lab": {"bob@example.com"}}


def test_csv() -> None:
    """Columns in any order, accounts canonical, a name in quotes."""
    text = 'user,group\nAlice@Example.com,CN=Sales\n\nbob@example.com,"CN=Sales"\nbob@example.com,Lab\n'
    assert read_groups(text.encode(), source="g.csv") == SALES
    assert read_groups(b'group,user\n"a,b",x@example.com\n', source="g.csv") == {"a,b": {"x@example.com"}}


def test_toml() -> None:
    """A group without members is one."""
    text = '"CN=Sales" = ["alice@example.com", "bob@example.com"]\nLab = ["bob@example.com"]\nEmpty = []\n'
    assert read_groups(text.encode(), source="g.toml") == {**SALES, "Empty": set()}


@pytest.mark.parametrize(
    ("data", "source", "expected"),
    [
        (b"name,user\n", "g.csv", "g.csv: line 1: the columns are group,user"),
        (b"group,user\na\n", "g.csv", "g.csv: line 2: must have a group and a user"),
        (b"group,user\n,x@example.com\n", "g.csv", "line 2: must have a group and a user"),
        (b"group,user\na,*\n", "g.csv", "line 2: `*` is not an account"),
        (b'group,user\n"a\n', "g.csv", "not CSV"),
        (b"group,user\n\xff,x\n", "g.csv", "line 2: is not UTF-8"),
        (b"a = 1", "g.toml", "g.toml: a: must be a list of texts"),
        (b'a = ["*"]', "g.toml", "g.toml: a[0]: `*` is not an account"),
        (b"a =", "g.toml", "g.toml: is not TOML"),
    ],
)
def test_a_file_with_a_fault_is_not_used(data: bytes, source: str, expected: str) -> None:
    """With place and reason."""
    with pytest.raises(DocumentError) as error:
        read_groups(data, source=source)
    assert expected in str(error.value)


def test_faults_are_bounded() -> None:
    """Who has a thousand has the wrong file."""
    with pytest.raises(DocumentError) as error:
        read_groups(b"group,user\n" + b"a,*\n" * (MAX_FAULTS + 5), source="g.csv")
    assert len(error.value.faults) == MAX_FAULTS + 1
    assert error.value.faults[-1].reason == "5 more faults are not listed"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=80), st.sampled_from(["g.csv", "g.toml"]))
def test_any_bytes_are_groups_or_a_list_of_faults(data: bytes, source: str) -> None:
    """Nothing else comes out of the reader."""
    try:
        found = read_groups(b"group,user\n" + data if source == "g.csv" else data, source=source)
    except DocumentError:
        return
    assert all(isinstance(members, frozenset) for members in found.values())


def _written(path: Path) -> None:
    path.write_text("group,user\na,x@example.com\nb,y@example.com\n")


def _replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_text("group,user\na,z@example.com\n")
    other.replace(path)


@pytest.mark.parametrize("change", [_written, _replaced, Path.unlink])
def test_a_change_is_noticed_once(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """Written to, replaced, or gone."""
    path = tmp_path / "groups.csv"
    path.write_text("group,user\na,x@example.com\n")
    groups: Groups = GroupFile(path)
    assert groups.has_changed(), "not read yet"
    assert groups.members() == {"a": {"x@example.com"}}
    assert not groups.has_changed()
    change(path)
    assert groups.has_changed()
    if not path.exists():
        with pytest.raises(DocumentError, match="cannot be read: No such file"):
            groups.members()
    else:
        groups.members()
    assert not groups.has_changed()
