"""Filters over records."""

from datetime import timedelta
from ipaddress import ip_network

import pytest

from gatekeeper.audit.stored import StoredRecord, read
from gatekeeper.audit.wanted import Wanted, is_app, overlaps
from testkit.audit_log import NOW, event, line

BLOCKED = line(event("c1"))
_FITTING = {
    "account": "alice@example.com",
    "device": "ph-001",
    "codes": frozenset({"GK1002W", "GK1003W"}),
    "rule": "no-tiktok",
    "app": "com.zhiliaoapp.*",
    "protocol": "imap",
    "conn": "c1",
    "network": ip_network("198.51.100.77"),
    "since": NOW,
    "until": NOW,
}
_OTHER = {
    "account": "alice@example.co",
    "device": "ph-00",
    "codes": frozenset({"GK1001I"}),
    "rule": "no-tik",
    "app": "zhiliaoapp",
    "protocol": "smtp",
    "conn": "c",
    "network": ip_network("198.51.101.77"),
    "since": NOW + timedelta(milliseconds=1),
    "until": NOW - timedelta(milliseconds=1),
}


def record() -> StoredRecord:
    return read(BLOCKED)


def test_no_filter_takes_everything() -> None:
    """Nothing asked for is everything."""
    assert Wanted().fits(record())
    assert not Wanted().needles
    assert not Wanted().is_indexed


@pytest.mark.parametrize("name", _FITTING)
def test_each_filter_takes_what_fits_and_nothing_else(name: str) -> None:
    """By itself, and among all the others."""
    assert Wanted(**{name: _FITTING[name]}).fits(record())  # type: ignore[arg-type]  # fields by name
    assert not Wanted(**{name: _OTHER[name]}).fits(record())  # type: ignore[arg-type]
    assert Wanted(**_FITTING).fits(record())  # type: ignore[arg-type]
    assert not Wanted(**(_FITTING | {name: _OTHER[name]})).fits(record())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", _FITTING)
def test_needles_stand_in_every_line_that_fits(name: str) -> None:
    """What is looked for before parsing never leaves out a line that fits."""
    groups = Wanted(**{name: _FITTING[name]}).needles  # type: ignore[arg-type]
    assert all(any(needle in BLOCKED for needle in group) for group in groups)


@pytest.mark.parametrize(
    ("address", "prefix", "asked", "expected"),
    [
        ("198.51.100.0", 24, "198.51.100.200", True),
        ("198.51.100.0", 24, "198.51.0.0/16", True),
        ("198.51.100.0", 24, "198.51.100.128/25", True),
        ("198.51.100.0", 24, "198.51.101.0/24", False),
        ("198.51.100.7", None, "198.51.100.7", True),
        ("198.51.100.7", None, "198.51.100.8", False),
        ("2001:db8:aa::", 48, "2001:db8:aa:1::2", True),
        ("2001:db8:aa::", 48, "198.51.100.7", False),
        ("198.51.100.0", 24, "::/0", False),
        ("no address", None, "0.0.0.0/0", False),
        ("198.51.100.0", 99, "0.0.0.0/0", False),
        (None, 24, "0.0.0.0/0", False),
    ],
)
def test_a_cut_address_stands_for_its_network(
    address: str | None, prefix: int | None, asked: str, *, expected: bool
) -> None:
    """Who asks for an address finds the records that may be of it; what is no address fits none."""
    assert overlaps(address, prefix, ip_network(asked)) is expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("com.tik", True), ("IOS:com.Tik", True), ("com.*", True), ("android:*", False), ("tik", False)],
)
def test_apps_are_named_with_or_without_their_platform(pattern: str, *, expected: bool) -> None:
    """Case aside; `*` stands for anything."""
    assert is_app("ios:com.tik", pattern) is expected
