"""Whose signatures make a bundle good: k of n, never the author, never twice the same, never an older version."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.identity import DEFAULT
from gatekeeper.publishing.approval import Approvers, Flaw, Refused, approve, override_note
from gatekeeper.signing.note import Note, Signature
from testkit.publishing import MALLORY, NOVAK, ORIGIN, POLICY, RUIZ, approvers, bundle, key, policy_text


def flaw(data: bytes, among: Approvers, above: int = 0) -> Flaw:
    """Why it is refused."""
    with pytest.raises(Refused) as refused:
        approve(data, among, DEFAULT, above=above)
    assert all(refused.value.reasons)
    return refused.value.flaw


def test_enough_approvers_make_it_good() -> None:
    """Two of three, and the policy compiles."""
    approved = approve(bundle(42, policy_text(no_chat="com.chat")).encode(), approvers(), DEFAULT, above=41)

    assert approved.approved_by == ("a.ruiz", "i.novak")
    assert [rule.id for rule in approved.policy.rules] == ["no-chat"]
    assert approved.statement.version == 42


@pytest.mark.parametrize(
    "by",
    [(), (RUIZ,), (RUIZ, RUIZ), (RUIZ, MALLORY), (MALLORY,)],
    ids=["nobody", "one", "one twice", "one and a stranger", "a stranger"],
)
def test_too_few_are_not_enough(by: tuple[object, ...]) -> None:
    """Nobody, one, the same one twice, and strangers."""
    assert flaw(bundle(1, by=by).encode(), approvers()) is Flaw.SIGNATURE


def test_the_author_does_not_count() -> None:
    """Nor does the author's key when the author is proven and has it as an approver under another name."""
    assert flaw(bundle(1, author="a.ruiz").encode(), approvers()) is Flaw.SIGNATURE
    assert approve(bundle(1, author="a.ruiz", by=(RUIZ, NOVAK, key("b.okafor"))).encode(), approvers(), DEFAULT)
    alias = replace(RUIZ, name="nobody")
    data = bundle(1, author="nobody", by=(RUIZ, NOVAK, alias)).encode()
    assert flaw(data, approvers(authors=(alias,))) is Flaw.SIGNATURE


def test_authors_prove_themselves_where_they_are_configured() -> None:
    """The author's name is then no longer only what the bundle says."""
    author = key("w.author")

    assert flaw(bundle(1).encode(), approvers(authors=(author,))) is Flaw.SIGNATURE
    assert approve(bundle(1, by=(author, RUIZ, NOVAK)).encode(), approvers(authors=(author,)), DEFAULT)
    assert flaw(bundle(1, by=(author, RUIZ)).encode(), approvers(authors=(author,))) is Flaw.SIGNATURE


def test_a_forged_line_refuses_the_bundle() -> None:
    """Under a known name and id, whatever else is there."""
    made = bundle(1)
    forged = Signature("b.okafor", key("b.okafor").verifier.key_id, made.signatures[0].octets)
    broken = replace(made, signatures=(*made.signatures, forged))

    assert flaw(broken.encode(), approvers()) is Flaw.SIGNATURE


def test_another_origin_an_older_version_a_bad_policy_are_refused() -> None:
    """Each with its own flaw."""
    assert flaw(bundle(1, origin="other.example/policy").encode(), approvers()) is Flaw.ORIGIN
    assert flaw(bundle(41).encode(), approvers(), above=42) is Flaw.VERSION
    assert flaw(bundle(42).encode(), approvers(), above=42) is Flaw.VERSION
    assert flaw(bundle(43, "schema = 2").encode(), approvers(), above=42) is Flaw.SCHEMA
    assert flaw(b"nothing", approvers()) is Flaw.MALFORMED


@given(
    by=st.lists(st.sampled_from([RUIZ, NOVAK, key("b.okafor"), MALLORY]), max_size=6),
    author=st.sampled_from(["a.ruiz", "i.novak", "b.okafor", "w.author"]),
    threshold=st.integers(1, 3),
)
def test_good_is_exactly_what_enough_others_signed(by: list[object], author: str, threshold: int) -> None:
    """Counted by hand: distinct approvers that are not the author."""
    others = {each.name for each in by} & {"a.ruiz", "i.novak", "b.okafor"} - {author}
    data = bundle(1, POLICY, by=tuple(by), author=author, origin=ORIGIN).encode()
    if len(others) >= threshold:
        assert set(approve(data, approvers(threshold), DEFAULT).approved_by) == others
    else:
        assert flaw(data, approvers(threshold)) is Flaw.SIGNATURE


@pytest.mark.parametrize("text", ["go ahead\n", f"{ORIGIN}\noverride 2\nsha256:00\nreason r\n"])
def test_a_word_about_another_bundle_is_none(text: str) -> None:
    """Nor one in another form."""
    made = replace(bundle(1), override=NOVAK.sign(Note(text)))
    assert flaw(made.encode(), approvers()) is Flaw.SIGNATURE


def test_the_author_cannot_force() -> None:
    """Whoever else approved it, and by whatever name the author's key may go."""
    made = bundle(1, author="b.okafor")
    made = replace(made, override=key("b.okafor").sign(override_note(made.statement, "because")))
    assert flaw(made.encode(), approvers()) is Flaw.SIGNATURE
    alias = replace(key("b.okafor"), name="nobody")
    made = bundle(1, author="nobody", by=(RUIZ, NOVAK, alias))
    made = replace(made, override=key("b.okafor").sign(override_note(made.statement, "because")))
    assert flaw(made.encode(), approvers(authors=(alias,))) is Flaw.SIGNATURE
