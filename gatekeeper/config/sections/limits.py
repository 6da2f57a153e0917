"""`[limits]`: bounds before admission; `[throttle]`: what repeated refusals meet."""

from datetime import timedelta

from gatekeeper.config.sections.values import at_least
from gatekeeper.domain.document import Table
from gatekeeper.enforcement.flow.dialogue import DialogueLimits
from gatekeeper.enforcement.flow.front import Limits
from gatekeeper.gate.refusals import RefusalSettings
from gatekeeper.gate.throttle import ThrottleSettings
from gatekeeper.net.crowd import CrowdLimits

_OCTETS = {"low": 512, "high": 1_048_576}
"""RFC 5321 §4.5.3.1 gives an SMTP command 512; nothing before log-in needs more than a mebibyte."""
_MANY = {"low": 1, "high": 1_000_000}


def read_limits(table: Table) -> Limits:
    """Bounds, each with the default of its dataclass."""
    default = Limits()

    def seconds(name: str, value: float) -> float:
        return at_least(table, name, f"{int(value)}s", timedelta(seconds=1)).total_seconds()

    limits = Limits(
        handshake_timeout_s=seconds("handshake_timeout", default.handshake_timeout_s),
        login_timeout_s=seconds("login_timeout", default.login_timeout_s),
        upstream_timeout_s=seconds("upstream_timeout", default.upstream_timeout_s),
        connect_timeout_s=seconds("connect_timeout", default.connect_timeout_s),
        max_attempts=table.integer("max_attempts", default.max_attempts, low=1, high=100),
        max_waiting=table.integer("max_waiting", default.max_waiting, **_MANY),
        max_handshakes=table.integer("max_handshakes", default.max_handshakes, **_MANY),
        max_unsent_octets=table.integer("max_unsent_octets", default.max_unsent_octets, low=16_384, high=16_777_216),
        crowd=_crowd(table),
        dialogue=_dialogue(table),
    )
    table.done()
    return limits


def _crowd(table: Table) -> CrowdLimits:
    default = CrowdLimits()
    limits = CrowdLimits(
        max_connections=table.integer("max_connections", default.max_connections, **_MANY),
        max_per_address=table.integer("max_per_address", default.max_per_address, **_MANY),
        max_waiting_per_address=table.integer("max_waiting_per_address", default.max_waiting_per_address, **_MANY),
    )
    if limits.max_waiting_per_address > limits.max_per_address:
        table.fault("max_waiting_per_address", "must not be more than max_per_address")
    return limits


def _dialogue(table: Table) -> DialogueLimits:
    def bound(name: str, low: int, high: int) -> int | None:
        return table.integer(name, low=low, high=high) if table.has(name) else None

    return DialogueLimits(
        max_line_octets=bound("max_line_octets", **_OCTETS),
        max_literal_octets=bound("max_literal_octets", **_OCTETS),
        max_response_octets=bound("max_response_octets", **_OCTETS),
        max_commands=bound("max_commands", low=10, high=1_000_000),
        max_errors=bound("max_errors", low=1, high=100),
    )


def read_throttle(table: Table) -> tuple[ThrottleSettings, RefusalSettings]:
    """How failed log-ins are slowed, and how long a refusal by policy is remembered."""
    default, memory = ThrottleSettings(), RefusalSettings()

    def seconds(name: str, value: float) -> float:
        return table.duration(name, f"{int(value)}s").total_seconds()

    throttle = ThrottleSettings(
        first_delay_s=seconds("first_delay", default.first_delay_s),
        max_delay_s=seconds("max_delay", default.max_delay_s),
        forget_after_s=seconds("forget_after", default.forget_after_s),
        free_accounts=table.integer("free_accounts", default.free_accounts, low=0, high=1_000_000),
        parallel=table.integer("parallel", default.parallel, **_MANY),
        max_entries=table.integer("max_entries", default.max_entries, low=100, high=10_000_000),
    )
    if throttle.max_delay_s < throttle.first_delay_s:
        table.fault("max_delay", "must not be shorter than first_delay")
    if throttle.forget_after_s < throttle.max_delay_s:
        table.fault("forget_after", "must not be shorter than max_delay")
    refusals = RefusalSettings(
        remember_for_s=seconds("remember_refusals", memory.remember_for_s),
        max_entries=table.integer("max_refusals", memory.max_entries, **_MANY),
    )
    table.done()
    return throttle, refusals
