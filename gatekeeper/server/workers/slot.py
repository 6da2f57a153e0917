"""One worker's place at the parent: its process, its channel, and when the next one starts after it died."""

import os
import signal
from dataclasses import dataclass, field
from typing import Any

from gatekeeper.server.workers.channel import Channel, Message

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 30.0
STEADY_S = 60.0
"""Who lived so long starts again without delay; systemd's RestartSteps, Kubernetes' back-off are the like."""


@dataclass(slots=True, eq=False)
class Slot:
    """Times are monotonic seconds."""

    number: int
    """From 1."""
    pid: int = 0
    """0: there is no process."""
    channel: Channel | None = None
    started: float = 0.0
    is_ready: bool = False
    start_at: float = 0.0
    """When the next process may start; counts while there is none."""
    quick_deaths: int = 0
    """In a row."""
    deaths: int = 0
    ended: str = "starting"
    """How the last process ended."""
    figures: list[Any] = field(default_factory=list)
    """Its metrics, when they were last gathered."""
    adopter: "Slot | None" = None
    """Who accepts what waits on its sockets while it is down."""

    def send(self, message: Message, sockets: Any = ()) -> bool:
        """Whether it went out."""
        return self.channel is not None and self.channel.send(message, sockets)

    def begin(self, pid: int, channel: Channel, now: float) -> None:
        """A process started."""
        self.pid, self.channel, self.started, self.is_ready = pid, channel, now, False

    def end(self, status: int, now: float) -> None:
        """The process ended, with `status` as waitpid(2) gives it."""
        code = os.waitstatus_to_exitcode(status)
        self.ended = f"ended with exit code {code}" if code >= 0 else f"was killed by {_signal(-code)}"
        if self.channel is not None:
            self.channel.close()
        self.pid, self.channel, self.is_ready, self.figures = 0, None, False, []
        self.deaths += 1
        self.quick_deaths = 0 if now - self.started >= STEADY_S else self.quick_deaths + 1
        delay = 0.0 if not self.quick_deaths else FIRST_DELAY_S * float(1 << min(self.quick_deaths - 1, 20))
        self.start_at = now + min(delay, MAX_DELAY_S)

    def facts(self, now: float) -> dict[str, Any]:
        """For whoever looks at the whole."""
        state = "up" if self.is_ready else "is starting" if self.pid else self.ended
        if not self.pid and self.start_at > now:
            state += f", next start in {self.start_at - now:.1f} s"
        return {"worker": self.number, "pid": self.pid, "is_up": self.is_ready, "state": state, "deaths": self.deaths}


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
