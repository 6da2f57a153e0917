"""The figures of several workers as those of one."""

from gatekeeper.server.metrics import Metrics, exposition, lasting, merged


def _families(count: float, writable: float) -> list[list[object]]:
    labels = {"listener": "imaps"}
    return [
        ["gatekeeper_connections", "counter", "Accepted", [["gatekeeper_connections_total", labels, count]]],
        ["gatekeeper_audit_writable", "gauge", "1 when", [["gatekeeper_audit_writable", {}, writable]]],
        ["gatekeeper_build_info", "gauge", "This", [["gatekeeper_build_info", {"version": "1"}, 1.0]]],
        ["gatekeeper_sessions_active", "gauge", "Admitted", [["gatekeeper_sessions_active", {}, 5.0]]],
    ]


def test_counts_are_added_and_the_worst_state_counts() -> None:
    """Facts stay what they are."""
    lines = exposition(merged([_families(3, 1), _families(4, 0)])).decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'gatekeeper_connections_total{listener="imaps"} 7.0',
        "gatekeeper_audit_writable 0.0",
        'gatekeeper_build_info{version="1"} 1.0',
        "gatekeeper_sessions_active 10.0",
    ]
    assert "# TYPE gatekeeper_connections_total counter" in lines


def test_of_a_worker_that_is_gone_the_counters_last() -> None:
    """So that no sum ever falls; its sessions are over."""
    gone = lasting(_families(3, 0))
    assert [family[0] for family in gone] == ["gatekeeper_connections"]
    assert merged([gone, gone])[0][3] == [["gatekeeper_connections_total", {"listener": "imaps"}, 6]]


def test_a_process_that_is_alone_says_the_same_both_ways() -> None:
    """As text, and as what is sent to be added up."""
    metrics = Metrics()
    metrics.reloads.labels("done").inc()
    assert exposition(merged([metrics.families()])) == metrics.text()
