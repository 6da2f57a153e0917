"""`[limits]`: bounds before admission."""

from datetime import timedelta

from gatekeeper.config.sections.values import at_least
from gatekeeper.domain.document import Table
from gatekeeper.enforcement.flow.front import Limits


def read_limits(table: Table) -> Limits:
    """Bounds, each with the default of `Limits`."""
    default = Limits()

    def seconds(name: str, value: float) -> float:
        return at_least(table, name, f"{int(value)}s", timedelta(seconds=1)).total_seconds()

    limits = Limits(
        handshake_timeout_s=seconds("handshake_timeout", default.handshake_timeout_s),
        login_timeout_s=seconds("login_timeout", default.login_timeout_s),
        upstream_timeout_s=seconds("upstream_timeout", default.upstream_timeout_s),
        connect_timeout_s=seconds("connect_timeout", default.connect_timeout_s),
        max_attempts=table.integer("max_attempts", default.max_attempts, low=1, high=100),
        max_waiting=table.integer("max_waiting", default.max_waiting, low=1, high=1_000_000),
    )
    table.done()
    return limits
