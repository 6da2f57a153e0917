"""App lists as text."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.adapters.stores import codec
from gatekeeper.adapters.stores.codec import (
    decode_apps,
    decode_kind,
    encode_apps,
    encode_kind,
    encode_stated,
    with_stated,
)
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.posture import DeviceFlag
from testkit.reports import phone, report

TEXTS = st.text(max_size=8)
APPS = st.builds(
    App,
    id=TEXTS,
    name=st.none() | TEXTS,
    version=st.none() | TEXTS,
    version_code=st.none() | st.integers(0, 2**63 - 1),
    signer_sha256=st.lists(st.sampled_from(["aa" * 32, "bb" * 32]), max_size=2).map(tuple),
    publisher=st.none() | TEXTS,
    installer=st.none() | TEXTS,
)


@given(st.lists(APPS, max_size=5))
def test_an_app_list_comes_back_as_it_was(apps: list[App]) -> None:
    """Every field and the order; empty is not the same as missing."""
    assert decode_apps(encode_apps(AppList(apps))) == AppList(apps)


def test_what_is_missing_takes_no_room() -> None:
    """Most sources know an id and a version."""
    assert encode_apps(AppList([App(id="a"), App(id="b", version="1")])) == '[["a"],["b",null,"1"]]'


def test_equal_apps_are_one_object() -> None:
    """A thousand phones with the same app hold it once."""
    text = encode_apps(AppList([App(id="com.example.notes", version="1.2")]))

    assert decode_apps(text).apps[0] is decode_apps(text).apps[0]


def test_sharing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that makes up apps does not fill the memory."""
    monkeypatch.setattr(codec, "SHARED_APPS", 3)
    monkeypatch.setattr(codec, "_shared", {})
    decode_apps(encode_apps(AppList([App(id=str(number)) for number in range(10)])))

    assert len(codec._shared) <= 3


ANOTHER = ["", "{", "1", "[1]", "[[]]", "[[1]]", '[[["a"]]]', '[["a",null,null,null,7]]', "[" * 100_000, '"abc"']
ANOTHER += ['{"com.example": 1}', '[{"com.example": 1}]', '["ab"]', '[["a",1]]', '[["a",null,null,"1"]]']


@pytest.mark.parametrize("text", ANOTHER, ids=range(len(ANOTHER)))
def test_another_text_is_refused(text: str) -> None:
    """What is not understood is not guessed at."""
    with pytest.raises(ValueError):
        decode_apps(text)


@given(APPS)
def test_a_kind_is_the_app_without_its_version(app: App) -> None:
    """All versions of an app are one entry of the index."""
    assert decode_kind(encode_kind(app)) == dataclasses.replace(app, version=None, version_code=None)


@given(st.none() | TEXTS, st.dictionaries(st.sampled_from(DeviceFlag), st.booleans()))
def test_what_is_said_of_the_device_comes_back(os_version: str | None, flags: dict[DeviceFlag, bool]) -> None:
    """Nothing said is nothing written."""
    bare = report(phone()).result
    said = dataclasses.replace(bare, os_version=os_version, flags=flags)

    assert with_stated(bare, encode_stated(said)) == said
    assert encode_stated(bare) is None


@pytest.mark.parametrize("text", ["", "[]", "1", '{"unheard_of": true}'])
def test_other_facts_are_refused(text: str) -> None:
    """What is not understood is not guessed at."""
    with pytest.raises(ValueError):
        with_stated(report(phone()).result, text)
