"""The parent of the workers: forks them, watches them, restarts them, and passes on what concerns all.

What holds inside: no thread and no event loop runs here, nothing is opened that cannot be inherited, so that a worker
can be forked at any time; nothing in the loop blocks on a worker; the workers end when this process is gone.

SIGHUP reloads. SIGTERM and SIGINT drain all workers, a second one stops them at once.
"""

import os
import selectors
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket, socketpair
from time import monotonic
from typing import Any, NoReturn

import structlog

from gatekeeper.adapters.sinks.several import hold
from gatekeeper.config.settings import CONTROL_SOCKET, Settings
from gatekeeper.net.listen import bind
from gatekeeper.server.metrics import lasting, merged
from gatekeeper.server.run import admin_taken, spare_the_collector
from gatekeeper.server.workers.channel import Channel, ChannelClosed, Message, pair
from gatekeeper.server.workers.estate import Estate
from gatekeeper.server.workers.questions import Answers, Questions
from gatekeeper.server.workers.reloading import Reloading
from gatekeeper.server.workers.slot import Slot
from gatekeeper.server.workers.worker import work

_log = structlog.get_logger("gatekeeper.parent")

ANSWER_WITHIN_S = 2.0
"""A worker that says nothing for so long does not turn any more; the audit log's stall limit is the same."""
_GRACE_S = 15.0
"""After the drain's deadline: closing the audit log may take ten seconds."""
_MAX_QUEUED = 100
EXIT_BUG = 70

Guard = Callable[[Callable[[], None]], None]
"""Runs a worker, says what is wrong, and raises SystemExit with the code for it."""


def serve_several(settings: Settings, config_path: Path, guard: Guard) -> None:
    """Run until told to stop; raises SystemExit with the exit code when it is not 0.

    Raises what `Estate` raises, `AuditLogError` when another gate writes there, and OSError when an address is taken.
    """
    lock_fd = hold(settings.audit.directory)
    try:
        settings.state_directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        parent = Parent(Estate(settings, config_path), guard)
        try:
            code = parent.run()
        finally:
            parent.close()
    finally:
        os.close(lock_fd)
    if code:
        raise SystemExit(code)


class Parent:
    """The workers' slots, and what is going on between them."""

    def __init__(self, estate: Estate, guard: Guard) -> None:
        self._estate = estate
        self._guard = guard
        self._slots = [Slot(number) for number in range(1, estate.workers + 1)]
        self._selector = selectors.DefaultSelector()
        self._questions = Questions()
        self._reloading = Reloading(estate, self._slots, self._questions, self._reloaded, kill=self._kill)
        self._admin, self._control_path, self._control = _served(estate.settings)
        self._host: Slot | None = None
        self._for_host: deque[Message] = deque(maxlen=_MAX_QUEUED)
        """Told to the next host when there is none."""
        self._departed: list[Any] = []
        """Counters of processes that are gone."""
        self._were_up = False
        """All workers, once."""
        self._stops_asked = 0
        self._stops_heeded = 0
        self._deadline: float | None = None
        self._code = 0
        self._wake, self._woken = socketpair()
        for sock in (self._wake, self._woken):
            sock.settimeout(0)

    def run(self) -> int:
        """Until all workers have ended; returns the exit code."""
        self._catch_signals()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        spare_the_collector()
        while True:
            self._heed_signals()
            self._reap()
            self._start_due()
            self._questions.sweep(monotonic())
            self._reloading.go_on(may_begin=self._is_steady)
            if self._is_stopping and not any(slot.pid for slot in self._slots):
                return self._code
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    self._woken.recv(4096)
                else:
                    self._hear(key.data)

    def close(self) -> None:
        """Give up what is held."""
        signal.set_wakeup_fd(-1)
        self._estate.close()
        self._selector.close()
        for sock in (self._admin, self._control, self._wake, self._woken):
            sock.close()
        self._control_path.unlink(missing_ok=True)

    # Signals.

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: self._reloading.ask(None))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ask_to_stop())

    def _ask_to_stop(self) -> None:
        self._stops_asked += 1

    def _heed_signals(self) -> None:
        """First time: drain; second time: stop at once; after the deadline: kill."""
        now = monotonic()
        if self._stops_asked and not self._stops_heeded:
            self._deadline = now + self._estate.settings.drain_timeout.total_seconds() + _GRACE_S
            _log.info("drain.started", workers=sum(bool(slot.pid) for slot in self._slots))
            self._estate.close()
        while self._stops_heeded < min(self._stops_asked, 2):
            self._stops_heeded += 1
            for slot in self._slots:
                slot.send(Message("drain" if self._stops_heeded == 1 else "stop"))
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            for slot in self._slots:
                self._kill(slot, "did not end in time")
            self._code = self._code or 1

    @property
    def _is_stopping(self) -> bool:
        return self._stops_heeded > 0

    @property
    def _is_steady(self) -> bool:
        """Nobody is just coming up."""
        return self._were_up and not self._is_stopping and all(slot.is_ready or not slot.pid for slot in self._slots)

    def _patience(self) -> float | None:
        """Seconds until something is due; None: whenever something happens."""
        due = [slot.start_at for slot in self._slots if not slot.pid] if self._may_start else []
        due += [at for at in (self._questions.next_deadline, self._deadline) if at is not None]
        return max(0.0, min(due) - monotonic()) if due else None

    # Processes.

    @property
    def _may_start(self) -> bool:
        return not self._is_stopping and not self._reloading.is_under_way

    def _start_due(self) -> None:
        if not self._may_start:
            return
        now = monotonic()
        # At first one alone: it brings the database up to date, and says what is wrong once.
        is_first_up = self._were_up or self._slots[0].is_ready
        for slot in self._slots if is_first_up else self._slots[:1]:
            if not slot.pid and slot.start_at <= now:
                self._start(slot)

    def _start(self, slot: Slot) -> None:
        ours, theirs = pair()
        pid = os.fork()
        if not pid:
            ours.close()  # else the worker would never hear that its parent is gone
            self._become_worker(slot, theirs)
        theirs.close()
        slot.begin(pid, ours, monotonic())
        self._selector.register(ours, selectors.EVENT_READ, slot)

    def _become_worker(self, slot: Slot, channel: Channel) -> NoReturn:
        """In the child: let go of what is the parent's, work, and end without running the parent's own ends."""
        code = EXIT_BUG
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for sock in (self._wake, self._woken, self._admin, self._control):
                sock.close()
            for other in self._slots:
                if other.channel is not None:
                    other.channel.close()
            inherited = self._estate.inherited_by(slot.number)
            self._guard(lambda: work(inherited, self._estate.settings, self._estate.config_path, channel))
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else EXIT_BUG
        except BaseException:  # noqa: BLE001  the end of a process
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        by_pid = {slot.pid: slot for slot in self._slots if slot.pid}
        for pid, slot in by_pid.items():
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._ended(slot, status)

    def _ended(self, slot: Slot, status: int) -> None:
        if slot.channel is not None:
            self._hear(slot)
            self._selector.unregister(slot.channel)
        facts: dict[str, Any] = {"worker": slot.number, "worker_pid": slot.pid}
        open_there = self._estate.headcount.read(slot.number)
        facts |= {"sessions_n": open_there.settled, "connections_n": open_there.waiting + open_there.settled}
        self._estate.headcount.clear(slot.number)
        self._departed = merged([self._departed, lasting(slot.figures)])
        came_up = slot.is_ready
        slot.end(status, monotonic())
        if self._host is slot:
            self._host = None
        if self._is_stopping:
            self._code = self._code or (0 if status == 0 else 1)
        elif not self._were_up and not came_up:
            self._code = os.waitstatus_to_exitcode(status)
            self._code = self._code if self._code > 0 else EXIT_BUG
            self._ask_to_stop()
        else:
            in_s = round(max(0.0, slot.start_at - monotonic()), 1)
            _log.error("worker.died", **facts, how=slot.ended, next_start_in_s=in_s)
            self._for_host.append(Message("died", 0, {**facts, "how": slot.ended}))
        self._questions.lost(slot.number)
        self._find_host()
        self._have_adopted()

    def _kill(self, slot: Slot, why: str) -> None:
        if slot.pid:
            _log.error("worker.killed", worker=slot.number, pid=slot.pid, why=why)
            os.kill(slot.pid, signal.SIGKILL)

    # Roles.

    def _find_host(self) -> None:
        """Somebody has to serve the admin port, also while all drain."""
        if self._host is None:
            self._host = next((slot for slot in self._slots if slot.is_ready), None)
            if self._host is not None:
                self._host.send(Message("host"), (self._admin, self._control))
        while self._host is not None and self._for_host:
            self._host.send(self._for_host.popleft())

    def _have_adopted(self) -> None:
        """What waits for a worker that is down is accepted by the next one that is up, and let go when it is back."""
        if self._is_stopping:
            return
        for index, slot in enumerate(self._slots):
            order = self._slots[index + 1 :] + self._slots[:index]
            adopter = None if slot.is_ready else next((other for other in order if other.is_ready), None)
            if adopter is slot.adopter:
                continue
            if slot.adopter is not None:
                slot.adopter.send(Message("release", 0, {"worker": slot.number}))
            slot.adopter = adopter
            if adopter is not None:
                names = list(self._estate.sockets)
                sockets = [self._estate.sockets[name][index] for name in names]
                adopter.send(Message("adopt", 0, {"worker": slot.number, "names": names}), sockets)

    # What they say.

    def _hear(self, slot: Slot) -> None:
        if slot.channel is None:
            return
        try:
            for message in slot.channel.receive():
                self._heed(slot, message)
        except ChannelClosed:
            return  # it ends: `_reap` sees to it

    def _heed(self, slot: Slot, message: Message) -> None:
        match message.kind:
            case "ready":
                self._came_up(slot)
            case "answer":
                self._questions.answered(slot.number, message)
            case "guess":
                for other in self._slots:
                    if other is not slot and other.is_ready:
                        other.send(message)
            case "drain":
                self._ask_to_stop()
            case "reload":
                self._reloading.ask(lambda outcome: _answer(slot, message, outcome))
            case "checks" | "metrics" | "status" | "refresh" | "record_in":
                self._questions.ask(
                    [one for one in self._slots if one.is_ready],
                    message.kind,
                    message.body,
                    deadline=monotonic() + ANSWER_WITHIN_S,
                    then=lambda answers: self._gathered(slot, message, answers),
                )

    def _came_up(self, slot: Slot) -> None:
        slot.is_ready = True
        if self._is_stopping:
            slot.send(Message("drain"))
        if not self._were_up and all(one.is_ready for one in self._slots):
            self._were_up = True
            _log.info("workers.up", workers=len(self._slots))
        self._find_host()
        self._have_adopted()

    def _gathered(self, slot: Slot, message: Message, answers: Answers) -> None:
        now = monotonic()
        body: dict[str, Any] = {"workers": answers, "roster": [one.facts(now) for one in self._slots]}
        body["were_up"] = self._were_up
        if message.kind == "metrics":
            for one in self._slots:
                found = answers.get(one.number)
                if isinstance(found, list):
                    one.figures = found
            body["departed"] = self._departed
        _answer(slot, message, body)

    def _reloaded(self, outcome: Message) -> None:
        """To be recorded and counted once."""
        for slot in self._slots:
            slot.adopter = None  # on commit everybody let go of it
        self._have_adopted()
        self._for_host.append(outcome)
        self._find_host()


def _answer(slot: Slot, message: Message, body: Any) -> None:
    slot.send(Message("answer", message.number, body))


def _served(settings: Settings) -> tuple[socket, Path, socket]:
    """The admin port and the control socket, bound; raises OSError."""
    try:
        admin = bind(settings.admin.host, settings.admin.port)
    except OSError as error:
        raise admin_taken(settings.admin, error) from error
    path = settings.state_directory / CONTROL_SOCKET
    path.unlink(missing_ok=True)
    control = socket(AF_UNIX, SOCK_STREAM)
    try:
        control.bind(str(path))
        path.chmod(0o600)
        control.listen()
    except OSError:
        admin.close()
        control.close()
        raise
    return admin, path, control
