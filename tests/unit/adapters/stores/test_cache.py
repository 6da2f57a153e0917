"""The memory of the directory."""

from gatekeeper.adapters.stores.cache import DeviceCache
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture
from testkit.reports import ALICE, BOB, phone

SERIAL = ("serial", "R58")


def test_the_account_that_was_not_used_longest_goes_first() -> None:
    """Looking up keeps an account in memory."""
    cache = DeviceCache(capacity=2)
    cache.put_account("one", (_posture("1"),))
    cache.put_account("two", (_posture("2"),))
    cache.of_account("one")
    cache.put_account("three", (_posture("3"),))

    assert [name for name in ("one", "two", "three") if cache.of_account(name) is not None] == ["one", "three"]


def test_accounts_are_counted_by_their_devices() -> None:
    """The bound is on what fills the memory; having none counts as one."""
    cache = DeviceCache(capacity=3)
    cache.put_account("none", ())
    cache.put_account("two", (_posture("1"), _posture("2")))
    assert cache.of_account("none") == ()

    cache.put_account("one", (_posture("3"),))

    assert [name for name in ("none", "two", "one") if cache.of_account(name) is not None] == ["none", "one"]


def test_an_account_with_more_devices_than_fit_is_not_remembered() -> None:
    """Half of its devices would be a wrong answer."""
    cache = DeviceCache(capacity=1)
    cache.put_account(BOB, ())
    cache.put_account(ALICE, (_posture("1"), _posture("2")))

    assert cache.of_account(ALICE) is None
    assert cache.of_account(BOB) == ()


def test_identifiers_are_bounded_too() -> None:
    """Certificates of strangers do not fill the memory."""
    cache = DeviceCache(capacity=2)
    for number in range(5):
        cache.put_identifier(("serial", str(number)), None)

    assert [number for number in range(5) if cache.holds_identifier(("serial", str(number)))] == [3, 4]


def test_one_device_is_one_object_whatever_leads_to_it() -> None:
    """An app list is held once, the newest."""
    cache = DeviceCache(capacity=9)
    old, middle, new = _posture("1"), _posture("1"), _posture("1")
    cache.put_identifier(SERIAL, old)
    cache.put_account(ALICE, (middle,))
    assert cache.by_identifier(SERIAL) is middle

    cache.put_identifier(("device_id", "1"), new)

    assert cache.by_identifier(SERIAL) is new
    assert cache.of_account(ALICE) == (new,)
    assert (cache.of_account(ALICE) or ())[0] is new


def test_a_change_touches_the_accounts_and_identifiers_that_lead_to_the_device() -> None:
    """And nothing that is not remembered."""
    cache = DeviceCache(capacity=9)
    cache.put_account(ALICE, (_posture("1"),))
    cache.put_account(BOB, ())
    cache.put_identifier(SERIAL, _posture("1"))

    assert cache.affected_accounts([DeviceId("1")], ["carol@example.com"]) == {ALICE}
    assert cache.affected_accounts([DeviceId("2")], [BOB]) == {BOB}
    assert cache.affected_identifiers([DeviceId("1"), DeviceId("2")]) == {SERIAL}


def test_a_device_can_move_between_remembered_accounts_in_any_order() -> None:
    """Afterwards it is its new owner's alone."""
    for order in ([ALICE, BOB], [BOB, ALICE]):
        cache = DeviceCache(capacity=9)
        cache.put_account(ALICE, (_posture("1"),))
        cache.put_account(BOB, ())
        now = {ALICE: (), BOB: (_posture("1", BOB),)}
        cache.replace({account: now[account] for account in order}, {})

        assert cache.affected_accounts([DeviceId("1")], []) == {BOB}


def test_what_was_forgotten_is_not_brought_back() -> None:
    """A renewal is for what is remembered still."""
    cache = DeviceCache(capacity=9)
    cache.replace({ALICE: ()}, {SERIAL: None})

    assert cache.of_account(ALICE) is None
    assert not cache.holds_identifier(SERIAL)


def test_clearing_forgets_everything() -> None:
    """As if new."""
    cache = DeviceCache(capacity=2)
    cache.put_account(ALICE, (_posture("1"),))
    cache.put_identifier(SERIAL, _posture("2", BOB))
    assert set(cache.owners()) == {("1", ALICE), ("2", BOB)}

    cache.clear()

    assert cache.owners() == ()
    cache.put_account("one", (_posture("1"),))
    cache.put_account("two", (_posture("2"),))
    assert cache.of_account("one") is not None


def _posture(device_id: str, account: str = ALICE) -> Posture:
    return Posture(device=phone(device_id, account), result=None)
