"""Configuration → the wired Gatekeeper: read this to see every part and who holds whom."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import structlog

from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.shipping.remotes import Remotes
from gatekeeper.adapters.sinks.succession import AUDIT_HEADS
from gatekeeper.adapters.sinks.writer import Limits
from gatekeeper.adapters.stores.directory import DeviceDirectory
from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.config.settings import AuditSettings, ListenerSettings, Settings
from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement import points
from gatekeeper.enforcement.flow.flow import accept
from gatekeeper.enforcement.flow.front import Front
from gatekeeper.enforcement.flow.point import PointSettings
from gatekeeper.gate.admit import Gate
from gatekeeper.gate.folding import FoldingLog
from gatekeeper.gate.outage import Outage
from gatekeeper.gate.refusals import Refusals
from gatekeeper.gate.settings import GateSettings
from gatekeeper.gate.throttle import Throttle
from gatekeeper.net import listen, revocation, tls
from gatekeeper.net.crowd import Crowd
from gatekeeper.net.dial import TlsMode, Upstream
from gatekeeper.net.headcount import Share
from gatekeeper.net.poller import Poller
from gatekeeper.net.pool import UpstreamPool
from gatekeeper.net.relay import Relay
from gatekeeper.ports.groups import Groups
from gatekeeper.publishing.break_glass import Opening
from gatekeeper.server import group_standing
from gatekeeper.server.admin_listener import AdminListener
from gatekeeper.server.archiver import Archiver
from gatekeeper.server.changes import ChangeRecorder
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.contexts import ServerContexts
from gatekeeper.server.evidence import EvidenceDesk
from gatekeeper.server.group_source import learn_members, open_groups
from gatekeeper.server.metrics import Metrics
from gatekeeper.server.names import open_names
from gatekeeper.server.policy_source import Source, read_source
from gatekeeper.server.publications import Look, Publications
from gatekeeper.server.rollouts import Rollouts

_log = structlog.get_logger("gatekeeper.groups")

MAX_ADDRESSES = 32
"""Of one mail server, names resolved: a log-in may try each, and each is probed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What a worker has from its parent, which made it before the worker was."""

    number: int
    """From 1."""
    source: Source
    audit: AuditSettings
    """With a directory and an origin of its own."""
    contexts: ServerContexts
    share: Share
    """Where it counts its connections, and reads those of the others."""
    sockets: dict[str, socket.socket]
    """Bound, by the name of the listener: whoever listens takes one out."""


@dataclass(slots=True, kw_only=True)
class Gatekeeper:
    """One process's parts."""

    settings: Settings
    config_path: Path
    poller: Poller
    loop: asyncio.AbstractEventLoop
    clock: SystemClock
    registry: SqlRegistry
    directory: DeviceDirectory
    audit: FileAuditLog
    remotes: Remotes
    """Where the audit log is sent."""
    folding: FoldingLog
    """What sessions and refusals are recorded through."""
    gate: Gate
    outage: Outage
    crowd: Crowd
    throttle: Throttle
    refusals: Refusals
    relay: Relay
    metrics: Metrics
    evidence: EvidenceDesk
    publications: Publications | None
    """Where policies come from; None: the policy is a file."""
    found_at_start: Look
    rollouts: Rollouts | None
    changes: ChangeRecorder
    archiver: Archiver
    break_glass: Opening | None = None
    """While it is open."""
    refused_note: bytes | None = None
    """The last one that was refused: told once."""
    groups: Groups | None = None
    """Who is in the groups of the directory."""
    groups_expired: bool = False
    """That the directory's last answer is too old was told."""
    contexts: ServerContexts = field(default_factory=ServerContexts)
    sockets: dict[str, socket.socket] | None = None
    """Of a worker: what its listeners listen on, by name; None: they open their own."""
    upstreams: dict[MailProtocol, UpstreamPool] = field(default_factory=dict)
    fronts: dict[str, Front] = field(default_factory=dict)
    listeners: dict[str, listen.Listener] = field(default_factory=dict)
    admin: AdminListener | None = None
    admin_port: int = 0
    """As bound."""
    draining: bool = False
    reloading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """The older of two reloads must not end last."""


@asynccontextmanager
async def compose(
    settings: Settings, config_path: Path, poller: Poller, inherited: Inherited | None = None
) -> AsyncIterator[Gatekeeper]:
    """Build everything but the listeners; undone in reverse order at the end. `inherited`: for one of several workers.

    Raises DocumentError, and what the adapters raise when they cannot be opened.
    """
    clock = SystemClock()
    own_audit = settings.audit if inherited is None else inherited.audit
    if inherited is None or inherited.source.publications is not None:
        source = read_source(settings, clock)  # of bundles also a worker takes what is the newest when it starts
    else:
        source = inherited.source
    groups = open_groups(settings)
    members, unknown = learn_members(groups, source.places)
    for line in unknown:
        _log.warning("groups.unknown", reason=line)
    settings.state_directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_store(settings.store_url))
        directory = DeviceDirectory(engine)
        stack.push_async_callback(directory.close)
        await directory.refresh()
        names = open_names(own_audit)
        if names is not None:
            stack.callback(names.close)  # after the log, which is closed before
        remotes = Remotes(own_audit.shipping, clock=clock)
        stack.push_async_callback(remotes.close)  # after the log is closed: its last record is sent too
        audit = FileAuditLog.open(
            own_audit.directory,
            origin=own_audit.origin,
            clock=clock,
            address_prefix=None if own_audit.full_addresses else (24, 48),
            signing_key=own_audit.signing_key,
            remember_in=settings.state_directory / AUDIT_HEADS,
            names=names,
            limits=Limits(segment_octets=own_audit.segment_octets, segment_age_s=own_audit.segment_age.total_seconds()),
            compress_after_s=own_audit.compress_after.total_seconds() if own_audit.compress else None,
            post=poller.post,
            when_quiet=poller.when_quiet,
            quorum=remotes.quorum,
            fallback=remotes.fallback,
        )
        stack.push_async_callback(audit.close)
        remotes.start(audit, own_audit.directory, audit.origin, poller.post)
        folding = FoldingLog(audit, window_s=settings.audit.fold.total_seconds(), monotonic=monotonic)
        stack.callback(folding.close)  # before the log is closed: what was counted is not lost
        registry = SqlRegistry(engine)
        archiver = Archiver(
            engine,
            settings.audit,
            clock,
            is_on=lambda: changes.is_on,
            in_force=lambda: (gate.ruling.policies, gatekeeper.evidence.names),
        )
        stack.callback(archiver.close)
        directory.subscribe(archiver.changed)
        # Before the gate hears of a change: what it then does to sessions stands behind the change in the log.
        changes = ChangeRecorder(audit, clock)
        directory.subscribe(changes.record)
        gate = Gate(
            settings=gate_settings(settings), policy=source.policy, devices=directory, audit=folding, clock=clock
        )
        relay = Relay(poller)
        gatekeeper = Gatekeeper(
            settings=settings,
            config_path=config_path,
            poller=poller,
            loop=asyncio.get_running_loop(),
            clock=clock,
            registry=registry,
            directory=directory,
            audit=audit,
            remotes=remotes,
            folding=folding,
            gate=gate,
            outage=Outage(audit=audit, relay=relay, clock=clock, monotonic=monotonic, existing=settings.audit.existing),
            crowd=Crowd(settings.limits.crowd, None if inherited is None else inherited.share),
            throttle=Throttle(settings.throttle),
            refusals=Refusals(settings.refusals),
            relay=relay,
            publications=source.publications,
            found_at_start=source.look,
            rollouts=source.rollouts,
            groups=groups,
            metrics=Metrics(),
            evidence=EvidenceDesk(
                registry=registry, directory=directory, audit=audit, clock=clock, gate=gate, settings=settings.evidence
            ),
            changes=changes,
            archiver=archiver,
        )
        if inherited is not None:
            gatekeeper.contexts, gatekeeper.sockets = inherited.contexts, inherited.sockets
            changes.is_on = False  # until this worker is the one that serves requests
        gatekeeper.evidence.names = settings.accounts.names
        gate.decided = gatekeeper.metrics.decided
        gate.ruling.know_members(members)
        gate.ruling.trial = source.rollouts.begin_trial() if source.rollouts else None
        gatekeeper.metrics.watch(
            sessions=gate.sessions,
            fronts=gatekeeper.fronts,
            upstreams=lambda: gatekeeper.upstreams,
            audit=audit,
            directory=directory,
            policy=lambda: gate.policy,
        )
        gatekeeper.metrics.watch_remotes(remotes)
        gatekeeper.metrics.watch_break_glass(lambda: gatekeeper.break_glass is not None)
        gatekeeper.metrics.watch_rollout(lambda: gatekeeper.rollouts.progress if gatekeeper.rollouts else None)
        gatekeeper.metrics.watch_groups(
            lambda: group_standing.figures(gatekeeper.groups, clock.now()) if changes.is_on else None
        )
        gatekeeper.metrics.watch_bounds(gatekeeper.fronts, gatekeeper.throttle, gatekeeper.refusals)
        yield gatekeeper


def gate_settings(settings: Settings) -> GateSettings:
    """What the gate takes from the configuration."""
    return GateSettings(binding=settings.binding, check_url=settings.check_url)


def upstreams(settings: Settings) -> dict[MailProtocol, UpstreamPool]:
    """Resolve and prepare the mail servers; blocks on DNS. Raises OSError or ssl.SSLError.

    A name that cannot be looked up is left out, and noted, as long as another address of its server remains.
    """
    found = {}
    for protocol, upstream in settings.upstreams.items():
        context = None
        if upstream.tls is not TlsMode.OFF:
            context = tls.client_context(upstream.ca, upstream.client_certificate, upstream.client_key)
        addresses: list[Upstream] = []
        unresolved: list[str] = []
        for host, port in upstream.addresses:
            try:
                resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                unresolved.append(f"`{host}` cannot be resolved: {error}")
                continue
            addresses += (
                Upstream(
                    host=host,
                    address=str(facts[4][0]),
                    port=port,
                    tls=upstream.tls,
                    context=context,
                    client_address=upstream.client_address,
                    preconnect=upstream.preconnect,
                )
                for facts in resolved
            )
        if not addresses:
            raise OSError("; ".join(unresolved))
        found[protocol] = UpstreamPool(addresses[:MAX_ADDRESSES], unresolved)
    return found


def alpn_of(protocol: MailProtocol) -> str:
    """What a listener's context is made for."""
    return points()[protocol].alpn or protocol.value


def front(gatekeeper: Gatekeeper, settings: Settings, listener: ListenerSettings, upstream: UpstreamPool) -> Front:
    """One listener's shared state; raises OSError, ValueError or ssl.SSLError for its certificates."""
    point = points()[listener.protocol]
    alpn = alpn_of(listener.protocol)
    context, revocations_until = None, None
    if settings.tls is not None and listener.tls is not TlsMode.OFF:
        context = gatekeeper.contexts.get(settings.tls, alpn)
        revocations_until = revocation.valid_until(settings.tls.client_crl)
    return Front(
        name=listener.name,
        protocol=listener.protocol,
        port=listener.port,
        tls=listener.tls,
        allow_plaintext=listener.allow_plaintext,
        context=context,
        alpn=alpn,
        revocations_until=revocations_until,
        upstream=upstream,
        new_dialogue=point.new_dialogue(
            PointSettings(
                hostname=settings.hostname,
                refusal_code=settings.refusal_code,
                loop=gatekeeper.loop,
                limits=settings.limits.dialogue,
            )
        ),
        last_words=point.last_words,
        gate=gatekeeper.gate,
        audit=gatekeeper.folding,
        clock=gatekeeper.clock,
        relay=gatekeeper.relay,
        poller=gatekeeper.poller,
        loop=gatekeeper.loop,
        limits=settings.limits,
        load_balancers=listener.proxy_protocol_from,
        accounts=settings.accounts,
        service=settings.upstreams[listener.protocol].service,
        crowd=gatekeeper.crowd,
        throttle=gatekeeper.throttle,
        refusals=gatekeeper.refusals,
    )


def bind(gatekeeper: Gatekeeper, settings: ListenerSettings, shared: Front) -> listen.Listener:
    """Open one listener; raises OSError with the address."""
    sockets = gatekeeper.sockets
    listener = listen.Listener(
        listen.bind(settings.host, settings.port) if sockets is None else sockets.pop(settings.name),
        gatekeeper.poller,
        lambda sock, peer: accept(shared, sock, peer),
        client_talks_first=settings.tls is TlsMode.IMPLICIT,
    )
    shared.port = listener.port
    return listener
