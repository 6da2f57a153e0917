"""A mail server's addresses: order of preference, and who is out."""

from dataclasses import replace

import pytest

from gatekeeper.net.dial import TlsMode, Upstream
from gatekeeper.net.pool import UpstreamPool

FIRST, SECOND, THIRD = (
    Upstream(host="mail", address=f"192.0.2.{number}", port=143, tls=TlsMode.OFF, context=None) for number in (1, 2, 3)
)


def test_an_address_is_believed_until_it_fails() -> None:
    """In the order that it was given."""
    pool = UpstreamPool([FIRST, SECOND, THIRD])
    assert pool.order == (FIRST, SECOND, THIRD)
    assert pool.all_up
    assert pool.is_up
    pool.worked(FIRST)
    pool.failed(SECOND, "refused")
    assert [str(health) for health in pool.health().values()] == ["up", "refused", "not looked at yet"]


def test_who_is_out_stands_last_and_is_not_left_away() -> None:
    """When nobody is up, everybody is tried, in order of preference."""
    pool = UpstreamPool([FIRST, SECOND, THIRD])
    pool.failed(FIRST, "refused")
    assert pool.order == (SECOND, THIRD, FIRST)
    assert pool.is_up
    assert not pool.all_up
    pool.failed(THIRD, "refused")
    assert pool.order == (SECOND, FIRST, THIRD)
    pool.failed(SECOND, "")
    assert pool.order == (FIRST, SECOND, THIRD)
    assert not pool.is_up


def test_who_greets_comes_back_to_its_place() -> None:
    """With its failures counted on."""
    pool = UpstreamPool([FIRST, SECOND])
    pool.failed(FIRST, "refused")
    pool.failed(FIRST, "refused again")
    pool.worked(SECOND)
    assert pool.order == (SECOND, FIRST)
    pool.worked(FIRST)
    assert pool.order == (FIRST, SECOND)
    assert pool.all_up
    assert pool.health()[FIRST].failures == 2
    assert pool.health()[FIRST].fault == ""


def test_a_stranger_changes_nothing() -> None:
    """A log-in that a reload overtook tells of an address that is gone."""
    pool = UpstreamPool([FIRST])
    pool.failed(SECOND, "refused")
    pool.worked(SECOND)
    assert list(pool.health()) == [FIRST]
    assert pool.all_up


def test_a_reload_keeps_what_is_known() -> None:
    """Of the addresses that stay, whatever their settings; others start afresh."""
    before = UpstreamPool([FIRST, SECOND])
    before.failed(FIRST, "refused")
    before.failed(SECOND, "refused")
    after = UpstreamPool([THIRD, replace(FIRST, client_address="id")])
    after.inherit(before)
    assert [upstream.address for upstream in after.order] == [THIRD.address, FIRST.address]
    assert [health.fault for health in after.health().values()] == ["", "refused"]


def test_a_mail_server_without_an_address_is_none() -> None:
    """There must be somebody to try."""
    with pytest.raises(ValueError, match="needs an address"):
        UpstreamPool([])
