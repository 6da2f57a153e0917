"""Reload: read, check and prepare everything new first, then swap; on any fault the old stays as it is.

Sessions are never dropped by a reload as such: they keep their certificates and connections, and are decided again by
the new policy. What can only change with a restart is said so.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.config.load import load
from gatekeeper.config.settings import ListenerSettings, Settings
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.front import Front
from gatekeeper.net.listen import Listener
from gatekeeper.net.pool import UpstreamPool
from gatekeeper.ports.clock import Clock
from gatekeeper.ports.groups import Groups
from gatekeeper.server import compose, in_force
from gatekeeper.server.group_source import NOBODY, learn_members, open_groups, read_members
from gatekeeper.server.policy_source import Source, read_source

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper

_log = structlog.get_logger("gatekeeper.reload")

_RESTART = ("store_url", "audit", "admin", "state_directory", "workers")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of an attempt."""

    reloaded: bool
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_Groups = tuple[Groups | None, Mapping[str, frozenset[str]]]
"""Where the groups of the directory come from, and who is in them."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything new, checked and made, and not in force."""

    settings: Settings
    source: Source
    fronts: dict[str, Front]
    upstreams: dict[MailProtocol, UpstreamPool]
    bound: dict[str, Listener]
    """Listeners on addresses that were not bound before; they do not accept yet."""
    groups: _Groups


FAULTS = (DocumentError, OSError, ssl.SSLError, ValueError, RecursionError)
"""What preparing raises for whatever is wrong with the files, the addresses and the names in them."""


async def reload(gatekeeper: "Gatekeeper") -> Reloaded:
    """Load the configuration and policy again; never raises for what is wrong with them. One at a time."""
    async with gatekeeper.reloading:
        try:
            prepared = await prepare(gatekeeper)
        except FAULTS as error:
            return rejected(gatekeeper, faults_of(error))
        notes = (*prepared.settings.notes, *restart_notes(gatekeeper.settings, prepared.settings))
        swap(gatekeeper, prepared)
        return done(gatekeeper, prepared.source.policy.sha256, notes)


async def prepare(gatekeeper: "Gatekeeper") -> Prepared:
    """Read, check and make everything new. Raises one of `FAULTS`; then nothing of it is left."""
    bound: dict[str, Listener] = {}
    try:
        settings, source, upstreams, groups = await asyncio.to_thread(_read, gatekeeper)
        if gatekeeper.draining:
            raise OSError("shutting down")
        fronts = _fronts(gatekeeper, settings, upstreams, bound)
        return Prepared(settings, source, fronts, upstreams, bound, groups)
    except FAULTS:
        _stop(bound)
        raise


def abandon(prepared: Prepared) -> None:
    """It does not come into force after all."""
    _stop(prepared.bound)


def _stop(bound: dict[str, Listener]) -> None:
    for listener in bound.values():
        listener.stop()


def restart_notes(before: Settings, after: Settings) -> tuple[str, ...]:
    """What of the changes only a restart puts in force."""
    return tuple(
        f"{name} changed: takes effect at the next start"
        for name in _RESTART
        if getattr(before, name) != getattr(after, name)
    )


def faults_of(error: Exception) -> tuple[str, ...]:
    """What is wrong, a line each."""
    return tuple(map(str, error.faults)) if isinstance(error, DocumentError) else (str(error),)


def _read(gatekeeper: "Gatekeeper") -> tuple[Settings, Source, dict[MailProtocol, UpstreamPool], _Groups]:
    settings, source, (groups, _) = read_files(gatekeeper.config_path, gatekeeper.settings, gatekeeper.clock)
    members, unknown = learn_members(groups, source.places)
    for line in unknown:
        _log.warning("groups.unknown", reason=line)
    return settings, source, compose.upstreams(settings), (groups, members)  # blocks on DNS


def read_files(config_path: Path, before: Settings, clock: Clock) -> tuple[Settings, Source, _Groups]:
    """All files, so that the faults of all are told at once. Raises `DocumentError`."""
    faults: list[Fault] = []
    settings = source = None
    try:
        settings = load(config_path, os.environ)
    except DocumentError as error:
        faults += error.faults
    used = before if settings is None else settings
    try:
        source = read_source(used, clock)
    except DocumentError as error:
        faults += error.faults
    groups, members = open_groups(used), NOBODY
    try:
        members = read_members(groups)
    except DocumentError as error:
        faults += error.faults
    if settings is None or source is None or faults:
        raise DocumentError(faults)
    return settings, source, (groups, members)


def _fronts(
    gatekeeper: "Gatekeeper",
    settings: Settings,
    upstreams: dict[MailProtocol, UpstreamPool],
    bound: dict[str, Listener],
) -> dict[str, Front]:
    """A front for every configured listener; what is not bound yet is bound now."""
    before = {listener.name: listener for listener in gatekeeper.settings.listeners}
    fronts = {}
    for listener in settings.listeners:
        front = compose.front(gatekeeper, settings, listener, upstreams[listener.protocol])
        fronts[listener.name] = front
        old = before.get(listener.name)
        if old is None or place(old) != place(listener):
            bound[listener.name] = compose.bind(gatekeeper, listener, front)
            bound[listener.name].pause()
    return fronts


def place(listener: ListenerSettings) -> ListenerSettings:
    """What cannot change while the port stays open."""
    return replace(listener, allow_plaintext=False, proxy_protocol_from=())


def swap(gatekeeper: "Gatekeeper", prepared: Prepared) -> None:
    """From here on nothing can fail."""
    settings = prepared.settings
    for protocol, pool in prepared.upstreams.items():
        before = gatekeeper.upstreams.get(protocol)
        if before is not None:
            pool.inherit(before)
        for fault in pool.unresolved:
            _log.warning("upstream.unresolved", protocol=protocol.value, reason=fault)
    gatekeeper.upstreams = prepared.upstreams
    for name, front in prepared.fronts.items():
        old = gatekeeper.fronts.get(name)
        if name in prepared.bound:
            _close(gatekeeper, name)
            gatekeeper.listeners[name] = prepared.bound[name]
            prepared.bound[name].resume()
            gatekeeper.fronts[name] = front
        elif old is not None:
            old.take_over(front)
    for name in set(gatekeeper.fronts) - set(prepared.fronts):
        _close(gatekeeper, name)
    gatekeeper.contexts.keep(front.context for front in gatekeeper.fronts.values())
    source = prepared.source
    policy_changed = source.policy.sha256 != gatekeeper.gate.policy.sha256
    gatekeeper.settings = settings
    gatekeeper.crowd.limits = settings.limits.crowd
    gatekeeper.throttle.settings = settings.throttle
    gatekeeper.refusals.settings = settings.refusals
    gatekeeper.gate.replace_settings(compose.gate_settings(settings))
    gatekeeper.evidence.settings = settings.evidence
    gatekeeper.evidence.names = settings.accounts.names
    _record(gatekeeper, EventCode.CONFIGURATION_LOADED, "Configuration loaded", {})
    try:
        gatekeeper.audit.take_up_keys()
    except AuditLogError as error:
        _log.error("audit.keys", reason=str(error))  # those from before go on signing
    gatekeeper.publications = source.publications
    in_force.tell_refused(gatekeeper, source.look)
    if policy_changed:
        in_force.activated(gatekeeper, source.policy, source.rollouts.base if source.rollouts else None)
    in_force.take_over(gatekeeper, source.rollouts)
    gatekeeper.groups, members = prepared.groups
    gatekeeper.gate.ruling.know_members(members)
    gatekeeper.gate.redecision.replace_policy(source.policy, source.rollouts.begin_trial() if source.rollouts else None)


def _close(gatekeeper: "Gatekeeper", name: str) -> None:
    listener = gatekeeper.listeners.pop(name, None)
    if listener is not None:
        listener.stop()
    front = gatekeeper.fronts.pop(name, None)
    if front is not None:
        front.say_goodbye()  # nobody watches over the deadlines of who is not logged in there any more


def done(gatekeeper: "Gatekeeper", policy_sha256: str, notes: tuple[str, ...]) -> Reloaded:
    """It is in force: told to operators and counted, once however many workers there are."""
    gatekeeper.metrics.reloads.labels("done").inc()
    _log.info("reload.done", policy_sha256=policy_sha256, notes=notes)
    return Reloaded(reloaded=True, notes=notes)


def rejected(gatekeeper: "Gatekeeper", faults: tuple[str, ...]) -> Reloaded:
    """The old one stays: told to operators and auditors, and counted, once however many workers there are."""
    for fault in faults:
        _log.error("reload.rejected", fault=fault)
    gatekeeper.metrics.reloads.labels("rejected").inc()
    detail: dict[str, str | int] = {"faults_n": len(faults), "first_fault": faults[0][:200]}
    _record(gatekeeper, EventCode.CONFIGURATION_REJECTED, "Configuration rejected; the old one stays", detail)
    return Reloaded(reloaded=False, faults=faults)


def _record(gatekeeper: "Gatekeeper", code: EventCode, message: str, detail: dict[str, str | int]) -> None:
    gatekeeper.audit.append(Event(code=code, time=gatekeeper.clock.now(), message=message, detail=detail))
