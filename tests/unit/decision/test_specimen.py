"""The devices of a policy's tests."""

from gatekeeper.decision.specimen import read_device
from gatekeeper.domain.device import DeviceClass
from gatekeeper.domain.document import Table
from gatekeeper.domain.identity import DEFAULT

from .samples import NOON, at


def test_a_device_without_apps_has_never_reported() -> None:
    """An empty list is a report of nothing."""
    for apps, has_result in (({}, False), ({"apps": []}, True)):
        faults: list[object] = []
        table = Table({"user": "a@example.com", "platform": "macos", **apps}, source="s", faults=faults)
        posture = read_device(table, "lt-1", DEFAULT, None).at(NOON)
        assert faults == []
        assert (posture.result is not None) is has_result
        assert (posture.device.device_id, posture.device.device_class) == ("lt-1", DeviceClass.LAPTOP)


def test_evidence_of_a_fixed_time_stays_where_it_is() -> None:
    """Whenever the test is."""
    table = Table(
        {"user": "a@example.com", "platform": "ios", "apps": [], "collected": "2020-01-01"}, source="s", faults=[]
    )
    result = read_device(table, "a", DEFAULT, None).at(NOON).result
    assert result is not None
    assert result.collected_at == at("2020-01-01T00:00:00+00:00")
