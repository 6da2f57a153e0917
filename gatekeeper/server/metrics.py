"""What `/metrics` shows (Prometheus text format). No account, device or phone's address is ever a label."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gatekeeper import __version__
from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.shipping.remotes import Remotes
from gatekeeper.adapters.stores.directory import DeviceDirectory
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision
from gatekeeper.domain.request import MailProtocol, Request
from gatekeeper.enforcement.flow.front import Front
from gatekeeper.gate.refusals import Refusals
from gatekeeper.gate.sessions import LiveSessions
from gatekeeper.gate.throttle import Throttle
from gatekeeper.net.pool import UpstreamPool

Upstreams = Callable[[], Mapping[MailProtocol, UpstreamPool]]

Family = list[Any]
"""Name, type, help, and samples of name, labels and value: what can be sent to another process."""
_LOWEST = frozenset(
    {
        "gatekeeper_audit_checkpoint_copy_up",
        "gatekeeper_audit_remote_up",
        "gatekeeper_audit_writable",
        "gatekeeper_store_healthy",
        "gatekeeper_upstream_up",
    }
)
"""Of several workers' figures the lowest is the whole's: one that is not well is enough."""
_HIGHEST = frozenset(
    {
        "gatekeeper_audit_remote_lag_seconds",
        "gatekeeper_break_glass_open",
        "gatekeeper_build_info",
        "gatekeeper_policy_info",
        "gatekeeper_policy_rollout_percent",
        "gatekeeper_policy_version",
        "gatekeeper_throttle_entries",
    }
)
"""The same facts in every worker."""


class Metrics:
    """The process's metrics: decisions are counted as they happen, the rest is read when asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._decisions: dict[tuple[str, str, str, str], int] = {}
        """Counted here and shown when asked for: looking a labelled counter up costs as much as the decision."""
        self.evidence = Counter("gatekeeper_evidence", "Signed evidence received", ("outcome",), registry=self.registry)
        self.reloads = Counter(
            "gatekeeper_reloads", "Attempts to load a new configuration", ("outcome",), registry=self.registry
        )

        self.bundle_errors = Counter(
            "gatekeeper_policy_bundle_errors",
            "Policy bundles that were refused; the last good one stays",
            ("flaw",),
            registry=self.registry,
        )

        self.rollouts_halted = Counter(
            "gatekeeper_policy_rollouts_halted", "Rollouts that halted themselves", registry=self.registry
        )

    def decided(self, request: Request, decision: Decision) -> None:
        """Count one decision."""
        labels = (request.protocol, decision.verdict, decision.reasons[0], decision.phase or "none")
        self._decisions[labels] = self._decisions.get(labels, 0) + 1

    def watch(
        self,
        *,
        sessions: LiveSessions,
        fronts: Mapping[str, Front],
        upstreams: Upstreams,
        audit: FileAuditLog,
        directory: DeviceDirectory,
        policy: Callable[[], Policy],
    ) -> None:
        """Read the rest from the parts."""
        self.registry.register(_Parts(self._decisions, sessions, fronts, audit, directory, policy))
        self.registry.register(_MailServers(upstreams))

    def watch_break_glass(self, is_open: Callable[[], bool]) -> None:
        """Read whether everybody is let through."""
        gauge = Gauge("gatekeeper_break_glass_open", "1 while everybody is let through", registry=self.registry)
        gauge.set_function(is_open)

    def watch_remotes(self, remotes: Remotes) -> None:
        """Read how far the remotes have the audit log."""
        self.registry.register(_Remotes(remotes))

    def watch_rollout(self, figures: Callable[[], tuple[int, int] | None]) -> None:
        """Read version and share from the rollout; None: the policy is a file."""
        self.registry.register(_Rollout(figures))

    def watch_groups(self, figures: Callable[[], tuple[bool, float | None] | None]) -> None:
        """Read from the process that asks a directory whether it answers, and the age of its last answer."""
        self.registry.register(_Directory(figures))

    def watch_bounds(self, fronts: Mapping[str, Front], throttle: Throttle, refusals: Refusals) -> None:
        """Read what limits and throttle did from them."""
        self.registry.register(_Bounds(fronts, throttle, refusals))

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)

    def families(self) -> list[Family]:
        """All figures, for another process to add up."""
        return [
            [
                family.name,
                family.type,
                family.documentation,
                [[one.name, one.labels, one.value] for one in family.samples],
            ]
            for family in self.registry.collect()
        ]


def merged(processes: Iterable[list[Family]]) -> list[Family]:
    """The figures of several processes as those of one: added up, but for what is no count."""
    families: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for process in processes for family in process):
        name, _, _, samples = family
        families.setdefault(name, family)
        known = values.setdefault(name, {})
        for sample, labels, value in samples:
            key = (sample, tuple(sorted(labels.items())))
            known[key] = _together(name, sample)((known[key], value)) if key in known else value
    return [
        [name, kind, words, [[sample, dict(labels), value] for (sample, labels), value in values[name].items()]]
        for name, kind, words, _ in families.values()
    ]


def lasting(families: list[Family]) -> list[Family]:
    """What of a process's figures still counts when it is gone: its counters, so that no sum ever falls."""
    return [family for family in families if family[1] == "counter"]


def exposition(families: list[Family]) -> bytes:
    """The figures as text."""
    registry = CollectorRegistry()
    registry.register(_Given(families))
    return generate_latest(registry)


def _together(name: str, sample: str) -> Callable[[tuple[float, float]], float]:
    if name in _LOWEST or sample.endswith("_created"):
        return min
    return max if name in _HIGHEST else sum


class _Given(Collector):
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """As they were given."""
        for name, kind, words, samples in self._families:
            metric = Metric(name, words, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            yield metric


class _Parts(Collector):
    def __init__(
        self,
        decisions: Mapping[tuple[str, str, str, str], int],
        sessions: LiveSessions,
        fronts: Mapping[str, Front],
        audit: FileAuditLog,
        directory: DeviceDirectory,
        policy: Callable[[], Policy],
    ) -> None:
        self._decisions = decisions
        self._sessions = sessions
        self._fronts = fronts
        self._audit = audit
        self._directory = directory
        self._policy = policy

    def collect(self) -> Iterable[Metric]:
        """Figures of this instant."""
        decisions = CounterMetricFamily(
            "gatekeeper_decisions",
            "Recorded decisions about mail sessions",
            labels=("protocol", "verdict", "reason", "phase"),
        )
        for labels, count in self._decisions.items():
            decisions.add_metric(labels, count)
        yield decisions
        yield GaugeMetricFamily("gatekeeper_sessions_active", "Admitted sessions", len(self._sessions))
        waiting = GaugeMetricFamily(
            "gatekeeper_connections_waiting", "Connections not admitted yet", labels=("listener",)
        )
        accepted = CounterMetricFamily("gatekeeper_connections", "Connections accepted", labels=("listener",))
        for front in self._fronts.values():
            waiting.add_metric([front.name], len(front.waiting))
            accepted.add_metric([front.name], front.accepted)
        yield waiting
        yield accepted
        counters = self._audit.counters
        yield CounterMetricFamily("gatekeeper_audit_records", "Durable audit records", counters.records)
        yield CounterMetricFamily("gatekeeper_audit_batches", "Group commits", counters.batches)
        yield CounterMetricFamily("gatekeeper_audit_failures", "Failed attempts to write", counters.failures)
        yield CounterMetricFamily(
            "gatekeeper_audit_checkpoint_failures", "Failed attempts to sign the head", counters.checkpoint_failures
        )
        yield GaugeMetricFamily("gatekeeper_audit_signed_records", "Records under a signed head", counters.signed)
        yield GaugeMetricFamily("gatekeeper_audit_writable", "1 when records become durable", self._audit.writable)
        yield GaugeMetricFamily(
            "gatekeeper_audit_late_records", "Events that wait until the log can be written again", self._audit.late
        )
        yield GaugeMetricFamily("gatekeeper_store_healthy", "1 when the store answers", self._directory.healthy)
        policy = GaugeMetricFamily("gatekeeper_policy_info", "The policy in force", labels=("sha256",))
        policy.add_metric([self._policy().sha256], 1)
        yield policy
        build = GaugeMetricFamily("gatekeeper_build_info", "This version", labels=("version",))
        build.add_metric([__version__], 1)
        yield build


class _Rollout(Collector):
    def __init__(self, figures: Callable[[], tuple[int, int] | None]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """How far the newest version is."""
        figures = self._figures()
        if figures is None:
            return
        last_good, percent = figures
        yield GaugeMetricFamily("gatekeeper_policy_version", "The version for all but a share", last_good)
        yield GaugeMetricFamily("gatekeeper_policy_rollout_percent", "Share that the newest version rules for", percent)


class _Directory(Collector):
    def __init__(self, figures: Callable[[], tuple[bool, float | None] | None]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """How it goes with the directory of groups."""
        figures = self._figures()
        if figures is None:
            return
        answers, age_s = figures
        yield GaugeMetricFamily("gatekeeper_groups_directory_up", "1 while the directory of groups answers", answers)
        if age_s is not None:
            yield GaugeMetricFamily("gatekeeper_groups_answer_age_seconds", "Age of its last good answer", age_s)


class _Remotes(Collector):
    def __init__(self, remotes: Remotes) -> None:
        self._remotes = remotes

    def collect(self) -> Iterable[Metric]:
        """How far each is behind."""
        names = ("remote",)
        up = GaugeMetricFamily("gatekeeper_audit_remote_up", "1 while a remote takes records", labels=names)
        records = GaugeMetricFamily("gatekeeper_audit_remote_lag_records", "Records it does not have", labels=names)
        seconds = GaugeMetricFamily("gatekeeper_audit_remote_lag_seconds", "For how long", labels=names)
        sent = CounterMetricFamily("gatekeeper_audit_remote_sent", "Records sent, repeats included", labels=names)
        failures = CounterMetricFamily("gatekeeper_audit_remote_failures", "Failed attempts to send", labels=names)
        for one in self._remotes.shippers:
            up.add_metric([one.name], one.is_up)
            records.add_metric([one.name], one.lag_records)
            seconds.add_metric([one.name], one.lag_s)
            sent.add_metric([one.name], one.sent)
            failures.add_metric([one.name], one.failures)
        yield from (up, records, seconds, sent, failures) if self._remotes.shippers else ()
        if self._remotes.copiers:
            names = ("copy",)
            up = GaugeMetricFamily("gatekeeper_audit_checkpoint_copy_up", "1 while it takes heads", labels=names)
            copied = GaugeMetricFamily("gatekeeper_audit_checkpoint_copied_records", "Under its head", labels=names)
            failures = CounterMetricFamily("gatekeeper_audit_checkpoint_copy_failures", "Failed copies", labels=names)
            refused = GaugeMetricFamily(
                "gatekeeper_audit_witness_refuses",
                "1 while a witness says that the log was forked or cut",
                labels=names,
            )
            for copier in self._remotes.copiers:
                refused.add_metric([copier.name], copier.is_refused)
                up.add_metric([copier.name], copier.is_up)
                copied.add_metric([copier.name], copier.copied)
                failures.add_metric([copier.name], copier.failures)
            yield from (up, copied, failures, refused)


class _MailServers(Collector):
    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams

    def collect(self) -> Iterable[Metric]:
        """Who is up."""
        labels = ("protocol", "host", "address")
        up = GaugeMetricFamily("gatekeeper_upstream_up", "1 while a mail server's address is up", labels=labels)
        failures = CounterMetricFamily(
            "gatekeeper_upstream_failures", "Failures that take an address out", labels=labels
        )
        for protocol, pool in self._upstreams().items():
            for upstream, health in pool.health().items():
                values = [protocol.value, upstream.host, upstream.place]
                up.add_metric(values, not health.fault)
                failures.add_metric(values, health.failures)
        yield up
        yield failures


class _Bounds(Collector):
    """What floods, guesses and phones that retry for ever met."""

    def __init__(self, fronts: Mapping[str, Front], throttle: Throttle, refusals: Refusals) -> None:
        self._fronts = fronts
        self._throttle = throttle
        self._refusals = refusals

    def collect(self) -> Iterable[Metric]:
        """Figures of this instant."""
        refused = CounterMetricFamily(
            "gatekeeper_connections_refused", "Connections ended by a limit", labels=("listener", "limit")
        )
        for front in self._fronts.values():
            for limit, count in front.turned_away.items():
                refused.add_metric([front.name, limit], count)
        yield refused
        preconnects = CounterMetricFamily(
            "gatekeeper_preconnects",
            "Connections made while a phone was on its way to log in: given to the log-in, or not",
            labels=("listener", "outcome"),
        )
        for front in self._fronts.values():
            preconnects.add_metric([front.name, "used"], front.preconnect.used)
            preconnects.add_metric([front.name, "unused"], front.preconnect.unused)
        yield preconnects
        throttle, refusals = self._throttle, self._refusals
        yield CounterMetricFamily("gatekeeper_logins_failed", "Log-ins with wrong credentials", throttle.failures)
        yield CounterMetricFamily("gatekeeper_logins_throttled", "Log-ins and answers held back", throttle.held)
        yield GaugeMetricFamily("gatekeeper_throttle_entries", "Pairs and sources that failed of late", len(throttle))
        yield CounterMetricFamily(
            "gatekeeper_refusals_remembered", "Refusals answered without asking the mail server", refusals.answered
        )
