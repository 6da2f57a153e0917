"""One process from start to end: the tasks, the signals, and the drain.

SIGHUP reloads. SIGTERM and SIGINT drain: no new connections, clients that have not logged in are told so, sessions are
ended when they are quiet, spread over the time there is, and what is left at the deadline is cut. A second SIGTERM
stops at once.
"""

import asyncio
import gc
import math
import os
import resource
import signal
from pathlib import Path

import structlog
from aiohttp import web

from gatekeeper.config.settings import CONTROL_SOCKET, AdminSettings, Settings
from gatekeeper.gate.outage import TICK_S, share
from gatekeeper.net.poller import Poller, PollerLoop
from gatekeeper.net.relay import Ended
from gatekeeper.server import compose, group_watch, in_force
from gatekeeper.server.admin import admin_app, control_app
from gatekeeper.server.admin_listener import AdminListener
from gatekeeper.server.compose import Gatekeeper
from gatekeeper.server.probe import watch_upstreams
from gatekeeper.server.reload import reload

_log = structlog.get_logger("gatekeeper.run")

_IDLE_PERIOD_S = 15.0


class Stop:
    """What the signals, or the parent, ask for."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.at_once = asyncio.Event()
        self.reload = asyncio.Event()

    def catch_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """From here on a signal no longer ends the process on the spot."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def ask(self) -> None:
        """First time: drain; second time: stop at once."""
        if self.drain.is_set():
            self.at_once.set()
        self.drain.set()


def serve(settings: Settings, config_path: Path) -> None:
    """Run until told to stop. Raises what `compose` raises, and OSError when an address cannot be bound."""
    poller = Poller()
    with asyncio.Runner(loop_factory=lambda: PollerLoop(poller)) as runner:
        runner.run(_serve(settings, config_path, poller))


async def _serve(settings: Settings, config_path: Path, poller: Poller) -> None:
    async with compose.compose(settings, config_path, poller) as gatekeeper:
        stop = Stop()
        stop.catch_signals(gatekeeper.loop)
        allow_descriptors()
        open_listeners(gatekeeper)
        admin = await _start_admin(gatekeeper)
        control = await _start_control(gatekeeper, stop)
        spare_the_collector()
        try:
            await run(gatekeeper, stop)
        finally:
            for listener in gatekeeper.listeners.values():
                listener.stop()
            gatekeeper.relay.end_all(Ended.DRAINED)
            await admin.cleanup()
            await control.cleanup()
            (settings.state_directory / CONTROL_SOCKET).unlink(missing_ok=True)


def allow_descriptors() -> None:
    """Each session takes two descriptors: use all that the service manager allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def spare_the_collector() -> None:
    """What is there now stays: code, policy, caches. Looking through it again and again would stall every session."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)


def open_listeners(gatekeeper: Gatekeeper) -> None:
    """Look the mail servers up and begin to accept. Raises OSError, ValueError or ssl.SSLError."""
    gatekeeper.upstreams = compose.upstreams(gatekeeper.settings)
    for settings in gatekeeper.settings.listeners:
        front = compose.front(gatekeeper, gatekeeper.settings, settings, gatekeeper.upstreams[settings.protocol])
        gatekeeper.listeners[settings.name] = compose.bind(gatekeeper, settings, front)
        gatekeeper.fronts[settings.name] = front
    in_force.begin(gatekeeper)
    for protocol, pool in gatekeeper.upstreams.items():
        for fault in pool.unresolved:
            _log.warning("upstream.unresolved", protocol=protocol.value, reason=fault)
    for name, front in gatekeeper.fronts.items():
        _log.info("listening", listener=name, protocol=front.protocol, port=front.port, tls=front.tls)


async def run(gatekeeper: Gatekeeper, stop: Stop) -> None:
    """Everything that goes on by itself, until `stop` asks for the drain, and the drain."""
    async with asyncio.TaskGroup() as tasks:
        gatekeeper.gate.run_in(tasks)
        background = [
            tasks.create_task(gatekeeper.directory.run(), name="follow the store"),
            tasks.create_task(_tick(gatekeeper), name="tick"),
            tasks.create_task(_reload_on(gatekeeper, stop.reload), name="reload on SIGHUP"),
            tasks.create_task(in_force.follow(gatekeeper), name="follow the published policies"),
            tasks.create_task(group_watch.follow(gatekeeper), name="follow the directory's groups"),
            tasks.create_task(group_watch.ask(gatekeeper), name="ask the directory"),
            tasks.create_task(watch_upstreams(gatekeeper), name="watch the mail servers"),
            tasks.create_task(gatekeeper.archiver.follow(), name="archive what is decided on"),
        ]
        await stop.drain.wait()
        await _drain(gatekeeper, stop)
        for task in background:
            task.cancel()


async def _tick(gatekeeper: Gatekeeper) -> None:
    """The one timer: deadlines, expired admissions, idle sessions."""
    turns_a_period = int(_IDLE_PERIOD_S / TICK_S)
    turn = 0
    while True:
        await asyncio.sleep(TICK_S)
        gatekeeper.gate.redecision.tick()
        gatekeeper.folding.tick()
        gatekeeper.outage.tick(gatekeeper.settings.drain_timeout.total_seconds())
        for front in tuple(gatekeeper.fronts.values()):
            front.tick()
        for listener in gatekeeper.listeners.values():
            listener.resume()
        if gatekeeper.admin is not None:
            gatekeeper.admin.sweep()
        turn += 1
        if gatekeeper.draining or turn % turns_a_period == 0:
            periods = math.ceil(gatekeeper.settings.idle_timeout.total_seconds() / _IDLE_PERIOD_S)
            gatekeeper.relay.tick(periods)


async def _reload_on(gatekeeper: Gatekeeper, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        await reload(gatekeeper)


async def _drain(gatekeeper: Gatekeeper, stop: Stop) -> None:
    """End everything politely within `drain_timeout`."""
    gatekeeper.draining = True
    _log.info("drain.started", sessions=len(gatekeeper.relay))
    for listener in gatekeeper.listeners.values():
        listener.stop()
    for front in gatekeeper.fronts.values():
        front.say_goodbye()
    window_s = gatekeeper.settings.drain_timeout.total_seconds()
    at_once = share(len(gatekeeper.relay), window_s)
    try:
        async with asyncio.timeout(window_s):
            while len(gatekeeper.relay) and not stop.at_once.is_set():
                # Phones reconnect when they are cut: spread, so that they do not all come back at once.
                quiet = [session for session in gatekeeper.relay.sessions() if session.quiet_ticks > 1]
                for session in quiet[:at_once]:
                    session.drain()
                await asyncio.sleep(TICK_S)
    except TimeoutError:
        pass  # the deadline: what is left is cut
    gatekeeper.relay.end_all(Ended.DRAINED)
    _log.info("drain.done")


async def _start_admin(gatekeeper: Gatekeeper) -> AdminListener:
    listener = gatekeeper.admin = AdminListener(admin_app(gatekeeper))
    admin = gatekeeper.settings.admin
    try:
        gatekeeper.admin_port = await listener.start(admin.host, admin.port)
    except OSError as error:
        raise admin_taken(admin, error) from error
    return listener


def admin_taken(admin: AdminSettings, error: OSError) -> OSError:
    """The error with the address in its words."""
    reason = os.strerror(error.errno) if error.errno else error
    return OSError(error.errno, f"admin.bind: cannot listen on {admin.host}:{admin.port}: {reason}")


async def _start_control(gatekeeper: Gatekeeper, stop: Stop) -> web.AppRunner:
    runner = web.AppRunner(control_app(gatekeeper, stop.ask), access_log=None, handle_signals=False)
    await runner.setup()
    path = gatekeeper.settings.state_directory / CONTROL_SOCKET
    path.unlink(missing_ok=True)
    await web.UnixSite(runner, str(path)).start()
    path.chmod(0o600)
    return runner
