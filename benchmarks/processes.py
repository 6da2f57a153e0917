"""Starting processes and ending them whatever happens: in order, pinned to their processors, ready before they are used."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.load import LoadError, Target, close, log_in

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


class PeerMissing(Exception):
    """The peer cannot take part; the text says why."""


@contextlib.contextmanager
def processes(
    commands: Sequence[Sequence[str]], log: Path, cpus: frozenset[int]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run the commands, each in a session of its own so that Ctrl-C reaches only the benchmark; end them at the end."""
    started: list[subprocess.Popen[bytes]] = []
    before = os.sched_getaffinity(0)
    try:
        with log.open("wb") as output:
            if cpus:
                os.sched_setaffinity(0, cpus)  # inherited by what is started here
            for command in commands:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    cwd=log.parent,
                )
                started.append(process)
            os.sched_setaffinity(0, before)
        yield started
    finally:
        os.sched_setaffinity(0, before)
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in reversed(started):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever of its session is left
            process.wait()


def wait_for_port(port: int, started: Sequence[subprocess.Popen[bytes]], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        _check_alive(started, log)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise PeerMissing(f"did not listen within {START_TIMEOUT_S:.0f} s")
        time.sleep(0.05)


def wait_for_log_in(target: Target, started: Sequence[subprocess.Popen[bytes]], log: Path) -> None:
    """A listening port is not readiness yet: its auth server or store may still be on the way."""
    deadline = time.monotonic() + START_TIMEOUT_S
    context = target.context()
    while True:
        _check_alive(started, log)
        try:
            close(log_in(target, context, timeout_s=5.0))
        except (OSError, LoadError) as problem:
            if time.monotonic() > deadline:
                raise PeerMissing(f"lets nobody log in: {problem}; {tail(log.read_text(errors='replace'))}") from None
            time.sleep(0.2)
        else:
            return


def _check_alive(started: Sequence[subprocess.Popen[bytes]], log: Path) -> None:
    for process in started:
        if process.poll() is not None:
            raise PeerMissing(f"ended with code {process.returncode}: {tail(log.read_text(errors='replace'))}")


def tail(text: str) -> str:
    """The last words of an output, on one line."""
    return " / ".join(text.strip().splitlines()[-3:])[-400:]
