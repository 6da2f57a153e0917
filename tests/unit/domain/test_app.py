"""The list of apps and its indexes."""

import pytest

from gatekeeper.domain.app import App, AppList, head_of

TIKTOK = App(
    id="com.Zhiliaoapp.musically",
    name="TikTok",
    signer_sha256=("ab" * 32, "cd" * 32),
    publisher="Bytedance",
    installer="Store",
)
CLONE = App(id="COM.zhiliaoapp.musically", name="Clone", signer_sha256=("ef" * 32,), publisher="Other")
NOTES = App(id="com.example.notes", name="NOTES", signer_sha256=("ab" * 32,), publisher="Example", installer="Other")


@pytest.mark.parametrize(
    ("key", "head"),
    [
        ("com.ss.iphone.ugc.ame", "com.ss"),
        ("com.ss", "com.ss"),
        ("com.ss.", "com.ss"),
        ("com", "com"),
        ("com.", "com."),
        (".a.b", ".a"),
        ("..", "."),
        ("", ""),
    ],
)
def test_the_head_is_two_labels(key: str, head: str) -> None:
    """Or as much as there is."""
    assert head_of(key) == head


def test_ids_are_indexed_case_folded() -> None:
    """An id that is installed twice keeps both of its apps."""
    apps = AppList([TIKTOK, NOTES, CLONE])

    assert apps.by_key == {"com.zhiliaoapp.musically": (TIKTOK, CLONE), "com.example.notes": (NOTES,)}
    assert apps.keys == {"com.zhiliaoapp.musically", "com.example.notes"}
    assert apps.ordered == ("com.example.notes", "com.zhiliaoapp.musically")
    assert apps.heads == {"com.zhiliaoapp", "com.example"}
    assert len(apps) == 3


def test_facts_are_indexed() -> None:
    """Signers as they are, names and publishers case-folded, and all texts to search in."""
    apps = AppList([TIKTOK, NOTES])

    assert apps.signers == {"ab" * 32, "cd" * 32}
    assert apps.names == {"tiktok", "notes"}
    assert apps.publishers == {"bytedance", "example"}
    assert set(apps.text.split("\n")) == apps.keys | apps.names | apps.publishers
    assert apps.installers == {"store", "other"}
    assert apps.lacks == frozenset()


@pytest.mark.parametrize(
    ("app", "lacks"),
    [
        (App(id="a", publisher="p", signer_sha256=("ab",), installer="i"), {"name"}),
        (App(id="a", name="n", signer_sha256=("ab",), installer="i"), {"publisher"}),
        (App(id="a", name="n", publisher="p", installer="i"), {"signer"}),
        (App(id="a", name="n", publisher="p", signer_sha256=("ab",)), {"installer"}),
        (App(id="a"), {"name", "publisher", "signer", "installer"}),
    ],
)
def test_what_one_app_lacks_is_lacked_by_the_list(app: App, lacks: set[str]) -> None:
    """One app without a name, and no name can be denied."""
    assert AppList([TIKTOK, app]).lacks == lacks


def test_an_empty_list() -> None:
    """Has nothing and lacks nothing."""
    apps = AppList([])

    assert (len(apps), apps.keys, apps.text, apps.lacks) == (0, frozenset(), "", frozenset())


def test_lists_are_values() -> None:
    """Equal by their apps, in their order."""
    assert AppList([TIKTOK, NOTES]) == AppList(iter([TIKTOK, NOTES]))
    assert hash(AppList([TIKTOK])) == hash(AppList([TIKTOK]))
    assert AppList([TIKTOK, NOTES]) != AppList([NOTES, TIKTOK])
    assert AppList([TIKTOK]) != (TIKTOK,)


def test_a_list_does_not_show_its_apps() -> None:
    """They are sensitive: the length alone is shown."""
    assert repr(AppList([TIKTOK, NOTES])) == "AppList(2 apps)"
    assert f"{AppList([TIKTOK])}" == "AppList(1 apps)"


def test_absences_say_which_combinations_are_missing() -> None:
    """One bit for each combination that occurs, so that lists can be compared without their apps."""
    signer = ("ab" * 32,)
    whole = App(id="a", name="A", publisher="P", signer_sha256=signer, installer="i")
    nameless = App(id="b", publisher="P", signer_sha256=signer, installer="i")
    bare = App(id="c")

    assert AppList([whole]).absences == 0
    assert AppList([whole, nameless]).absences == 1 << 1
    assert AppList([nameless, bare, bare]).absences == 1 << 1 | 1 << 15
