"""What the parent makes for its workers before they are, and again at a reload: settings, policy, contexts, sockets.

What holds inside: the parent keeps every socket open, so that connections in the queue of a worker that died wait for
the next one; it starts no thread, opens no database and no log, so that it can fork at any time.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from socket import socket
from ssl import SSLContext

from gatekeeper.adapters.sinks.several import worker_directory, worker_origin
from gatekeeper.config.settings import Settings
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.headcount import Headcount
from gatekeeper.net.listen import bind_several
from gatekeeper.server import compose
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.compose import Inherited
from gatekeeper.server.contexts import ServerContexts, digest
from gatekeeper.server.policy_source import Source, read_source
from gatekeeper.server.reload import place, read_files

Fingerprint = dict[str, str]
_CHANGED = "the files changed while they were read: reload again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """What a reload prepared in the parent."""

    settings: Settings
    source: Source
    fingerprint: Fingerprint
    """Of what was read: every worker must have read the same."""
    taken: dict[str, int]
    """Blank contexts taken before it was prepared."""
    sockets: dict[str, tuple[socket, ...]]
    """On addresses that were not bound before."""
    contexts: tuple[SSLContext, ...]


class Estate:
    """The parent's."""

    def __init__(self, settings: Settings, config_path: Path) -> None:
        """Raise DocumentError, OSError, ValueError or ssl.SSLError for what cannot be used."""
        self.settings = settings
        self.config_path = config_path
        self.workers = settings.workers
        self.headcount = Headcount(self.workers)
        self.source = read_source(settings, SystemClock())
        self.contexts = ServerContexts(shared=sorted(_protocols(settings)))
        self._in_force = self._make_contexts(settings)
        self.sockets: dict[str, tuple[socket, ...]] = {}
        """By the listener's name, one for each worker."""
        self._bind(settings, self.sockets)

    def inherited_by(self, number: int) -> Inherited:
        """What worker `number` gets; in its own process, where the sockets of the others are closed."""
        audit = self.settings.audit
        for sockets in self.sockets.values():
            for other, sock in enumerate(sockets, 1):
                if other != number:
                    sock.close()
        return Inherited(
            number=number,
            source=self.source,
            audit=replace(
                audit,
                directory=worker_directory(audit.directory, number),
                origin=worker_origin(audit.origin, number),
            ),
            contexts=self.contexts,
            share=self.headcount.share(number),
            sockets={name: sockets[number - 1] for name, sockets in self.sockets.items()},
        )

    def prepare(self) -> Successor:
        """Read and make everything new. Raises one of `reload.FAULTS`; then nothing of it is left."""
        taken = dict(self.contexts.taken)
        read_before = _configuration_digest(self.config_path)
        settings, source, _ = read_files(self.config_path, self.settings, SystemClock())
        contexts = self._make_contexts(settings)
        found = fingerprint(self.config_path, settings, source)
        if found["configuration"] != read_before:
            raise OSError(_CHANGED)
        sockets: dict[str, tuple[socket, ...]] = {}
        self._bind(settings, sockets)
        return Successor(
            settings=settings, source=source, fingerprint=found, taken=taken, sockets=sockets, contexts=contexts
        )

    def adopt(self, successor: Successor) -> None:
        """From now on new workers get this."""
        kept = {listener.name for listener in successor.settings.listeners} - set(successor.sockets)
        for name in set(self.sockets) - kept:
            _close(self.sockets.pop(name))
        self.sockets |= successor.sockets
        # What only a restart changes stays as the workers that run have it.
        before = self.settings
        self.settings = replace(
            successor.settings,
            state_directory=before.state_directory,
            store_url=before.store_url,
            audit=before.audit,
            admin=before.admin,
        )
        self.source = successor.source
        self._in_force = successor.contexts
        self.contexts.keep(self._in_force)

    def abandon(self, successor: Successor) -> None:
        """It does not come into force after all."""
        for sockets in successor.sockets.values():
            _close(sockets)
        self.contexts.keep(self._in_force)  # as the workers do, so that all take the same blank one next time

    def close(self) -> None:
        """Listen no more."""
        for sockets in self.sockets.values():
            _close(sockets)
        self.sockets.clear()

    def _bind(self, settings: Settings, into: dict[str, tuple[socket, ...]]) -> None:
        """Bind what is not bound yet."""
        before = {listener.name: listener for listener in self.settings.listeners}
        try:
            for listener in settings.listeners:
                if listener.name not in self.sockets or place(before[listener.name]) != place(listener):
                    into[listener.name] = bind_several(listener.host, listener.port, self.workers)
        except OSError:
            for sockets in into.values():
                _close(sockets)
            into.clear()
            raise

    def _make_contexts(self, settings: Settings) -> tuple[SSLContext, ...]:
        tls = settings.tls
        return () if tls is None else tuple(self.contexts.get(tls, alpn) for alpn in sorted(_protocols(settings)))


def fingerprint(config_path: Path, settings: Settings, source: Source) -> Fingerprint:
    """What tells whether two processes have read the same. Raises OSError."""
    return {
        "configuration": _configuration_digest(config_path),
        "policy": source.policy.sha256 if source.publications is None else "",  # bundles: each worker follows them
        "tls": "" if settings.tls is None else digest(settings.tls).hex(),
    }


def _configuration_digest(config_path: Path) -> str:
    return sha256(config_path.read_bytes()).hexdigest()


def _protocols(settings: Settings) -> set[str]:
    """What the listeners' contexts are made for."""
    return {compose.alpn_of(one.protocol) for one in settings.listeners if one.tls is not TlsMode.OFF}


def _close(sockets: tuple[socket, ...]) -> None:
    for sock in sockets:
        sock.close()
