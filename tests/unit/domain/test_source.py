"""What limits and delays count a client's address as."""

import pytest

from gatekeeper.domain.source import source_of


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unix", "unix"),
        ("a:b", "a:b"),
    ],
)
def test_an_address_is_counted_as_its_source(address: str, source: str) -> None:
    """IPv4 by address, also when it comes mapped; IPv6 by /64; what is no address as itself."""
    assert source_of(address) == source
