"""One worker, from its fork to its end: a gate like any other that takes its orders from the parent.

What holds inside: what can hold a thread (store, audit log) is opened here, after the fork; signals are the parent's
business; a worker whose parent is gone drains. One worker at a time is the host: it serves the admin port and the
control socket for all, and records what happens once however many there are.
"""

import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Any

import structlog
from aiohttp import web

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.config.settings import Settings
from gatekeeper.enforcement.flow.flow import accept
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.listen import Listener
from gatekeeper.net.poller import Poller, PollerLoop
from gatekeeper.net.relay import Ended
from gatekeeper.ports.devices import Unavailable
from gatekeeper.server import compose, health
from gatekeeper.server.admin import admin_app, control_app
from gatekeeper.server.admin_listener import AdminListener
from gatekeeper.server.compose import Gatekeeper, Inherited
from gatekeeper.server.recorder import record_in
from gatekeeper.server.reload import FAULTS, Prepared, abandon, done, faults_of, prepare, rejected, swap
from gatekeeper.server.run import Stop, allow_descriptors, open_listeners, run, spare_the_collector
from gatekeeper.server.whole import status
from gatekeeper.server.workers.channel import Channel, ChannelClosed, Message
from gatekeeper.server.workers.estate import fingerprint
from gatekeeper.server.workers.together import Together

_log = structlog.get_logger("gatekeeper.worker")


def work(inherited: Inherited, settings: Settings, config_path: Path, channel: Channel) -> None:
    """Run until the parent says so, or is gone. Raises what `compose` and `open_listeners` raise."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(
            number, signal.SIG_IGN
        )  # a service manager sends them to every process; the parent passes them on
    structlog.contextvars.bind_contextvars(worker=inherited.number)
    poller = Poller()
    with asyncio.Runner(loop_factory=lambda: PollerLoop(poller)) as runner:
        runner.run(_work(inherited, settings, config_path, channel, poller))


async def _work(inherited: Inherited, settings: Settings, config_path: Path, channel: Channel, poller: Poller) -> None:
    async with compose.compose(settings, config_path, poller, inherited) as gatekeeper, asyncio.TaskGroup() as tasks:
        stop = Stop()
        allow_descriptors()
        open_listeners(gatekeeper)
        spare_the_collector()
        worker = Worker(gatekeeper, inherited.number, channel, stop, tasks)
        worker.begin()
        try:
            await run(gatekeeper, stop)
        finally:
            for listener in gatekeeper.listeners.values():
                listener.stop()
            gatekeeper.relay.end_all(Ended.DRAINED)
            await worker.end()


class Worker:
    """Answers the parent."""

    def __init__(
        self, gatekeeper: Gatekeeper, number: int, channel: Channel, stop: Stop, tasks: asyncio.TaskGroup
    ) -> None:
        self._gatekeeper = gatekeeper
        self.number = number
        self._channel = channel
        self._stop = stop
        self._tasks = tasks
        self._prepared: Prepared | None = None
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._question = 0
        self._admin: AdminListener | None = None
        self._control: web.AppRunner | None = None

    def begin(self) -> None:
        """Listen to the parent, and tell it that phones are served."""
        self._gatekeeper.loop.add_reader(self._channel.fileno(), self._hear)
        self._gatekeeper.throttle.tell = lambda *what: self._channel.send(Message("guess", 0, what))
        self._channel.send(Message("ready"))

    async def end(self) -> None:
        """Give up what was served for all."""
        if self._admin is not None:
            await self._admin.cleanup()
        if self._control is not None:
            await self._control.cleanup()
        self._gatekeeper.loop.remove_reader(self._channel.fileno())

    async def ask(self, what: str, within_s: float, body: object = None) -> Any:
        """Ask the parent, which asks every worker. Raises `Unavailable` when no answer comes."""
        self._question += 1
        number = self._question
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            if not self._channel.send(Message(what, number, body)):
                raise Unavailable("the parent process takes no questions")
            async with asyncio.timeout(within_s):
                return await answer
        except TimeoutError as error:
            raise Unavailable("the parent process does not answer") from error
        finally:
            del self._asked[number]

    def drain(self) -> None:
        """Have the parent end all workers."""
        self._channel.send(Message("drain"))

    def _hear(self) -> None:
        try:
            for message in self._channel.receive():
                self._heed(message)
        except ChannelClosed:
            self._gatekeeper.loop.remove_reader(self._channel.fileno())
            if not self._stop.drain.is_set():
                _log.error("worker.orphaned", reason="the parent process is gone")
                self._stop.ask()

    def _heed(self, message: Message) -> None:
        match message.kind:
            case "answer":
                answer = self._asked.get(message.number)
                if answer is not None and not answer.done():
                    answer.set_result(message.body)
            case "drain":
                self._stop.drain.set()
            case "stop":
                self._stop.drain.set()
                self._stop.at_once.set()
            case "guess":
                account, source, began = message.body
                self._gatekeeper.throttle.heard(account, source, began, monotonic())
            case "adopt":
                self._adopt(int(message.body["worker"]), message.body["names"], message.sockets)
            case "release":
                self._release(int(message.body["worker"]))
            case "abandon":
                self._abandon()
            case _:
                self._tasks.create_task(self._guarded(message), name=message.kind)

    async def _guarded(self, message: Message) -> None:
        """Do what takes a while; a fault of ours in here must not end the worker."""
        try:
            body = await self._done(message)
        except Exception as error:  # noqa: BLE001  the guard of every order
            _log.error("worker.fault", order=message.kind, exc_info=error)
            body = {"faults": [f"worker {self.number}: internal error"]}
        if message.number and not self._channel.send(Message("answer", message.number, body)):
            self._channel.send(
                Message("answer", message.number, {"faults": [f"worker {self.number}: too much to say"]})
            )

    async def _done(self, message: Message) -> Any:
        gatekeeper = self._gatekeeper
        match message.kind:
            case "checks":
                return health.checks(gatekeeper)
            case "metrics":
                return gatekeeper.metrics.families()
            case "status":
                return status(gatekeeper)
            case "refresh":
                await gatekeeper.directory.refresh()
            case "record_in":
                return await record_in(gatekeeper, message.body)
            case "prepare":
                return await self._prepare(message.body, message.sockets)
            case "commit":
                self._commit()
            case "host":
                await self._host(*message.sockets)
            case _:
                self._note(message.kind, message.body)
        return {}

    def _note(self, kind: str, body: dict[str, Any]) -> None:
        """The host is told what happened, to record and count it once."""
        gatekeeper = self._gatekeeper
        match kind:
            case "reloaded":
                done(gatekeeper, body["policy_sha256"], tuple(body["notes"]))
            case "rejected":
                rejected(gatekeeper, tuple(body["faults"]))
            case "died":
                detail: dict[str, str | int] = {str(name): value for name, value in body.items()}
                event = Event(code=EventCode.WORKER_DIED, time=gatekeeper.clock.now(), detail=detail)
                gatekeeper.audit.append(event)

    # Reload.

    async def _prepare(self, expected: dict[str, Any], sockets: Iterable[socket]) -> dict[str, list[str]]:
        """Read and make everything, as the parent did; in force it is not before `commit`."""
        gatekeeper = self._gatekeeper
        self._abandon()
        gatekeeper.contexts.taken = expected["taken"]
        gatekeeper.sockets = dict(zip(expected["names"], sockets, strict=True))
        try:
            self._prepared = await prepare(gatekeeper)
            found = fingerprint(gatekeeper.config_path, self._prepared.settings, self._prepared.source)
        except FAULTS as error:
            self._abandon()
            return {"faults": list(faults_of(error))}
        if found != expected["fingerprint"]:
            self._abandon()
            return {"faults": ["the files changed while they were read: reload again"]}
        return {}

    def _commit(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            for number in {int(name.partition("@")[2]) for name in self._gatekeeper.listeners if "@" in name}:
                self._release(number)  # the parent gives out again what is still needed
            swap(self._gatekeeper, prepared)

    def _abandon(self) -> None:
        gatekeeper = self._gatekeeper
        if self._prepared is not None:
            abandon(self._prepared)
            self._prepared = None
        for sock in (gatekeeper.sockets or {}).values():
            sock.close()
        gatekeeper.sockets = {}
        gatekeeper.contexts.keep(front.context for front in gatekeeper.fronts.values())

    # The port of a worker that is down.

    def _adopt(self, worker: int, names: Iterable[str], sockets: Iterable[socket]) -> None:
        """Accept also what waits for a worker that is down."""
        gatekeeper = self._gatekeeper
        self._release(worker)
        for name, sock in zip(names, sockets, strict=True):
            front = gatekeeper.fronts.get(name)
            if front is None or gatekeeper.draining:
                sock.close()
                continue
            gatekeeper.listeners[f"{name}@{worker}"] = Listener(
                sock,
                gatekeeper.poller,
                lambda sock, peer, front=front: accept(front, sock, peer),  # type: ignore[misc]  # bound here
                client_talks_first=front.tls is TlsMode.IMPLICIT,
            )

    def _release(self, worker: int) -> None:
        listeners = self._gatekeeper.listeners
        for name in [name for name in listeners if name.endswith(f"@{worker}")]:
            listeners.pop(name).stop()

    # The host.

    async def _host(self, admin: socket, control: socket) -> None:
        """Serve the admin port and the control socket for all."""
        gatekeeper = self._gatekeeper
        whole = Together(gatekeeper, self.number, self.ask)
        gatekeeper.changes.is_on = True
        self._admin = gatekeeper.admin = AdminListener(admin_app(gatekeeper, whole))
        gatekeeper.admin_port = await self._admin.start_on(admin)
        self._control = web.AppRunner(control_app(gatekeeper, self.drain, whole), access_log=None, handle_signals=False)
        await self._control.setup()
        await web.SockSite(self._control, control).start()
