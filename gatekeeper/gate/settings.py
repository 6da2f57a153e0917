"""How the gate is run: what admission and re-decision take from the configuration."""

from dataclasses import dataclass
from datetime import timedelta

from gatekeeper.gate.identify import BindingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """Replaced as a whole by a reload."""

    binding: BindingSettings
    check_url: str = ""
    """Where a person can see why and ask for a new check."""
    lookup_timeout_s: float = 5.0
    undecided_grace: timedelta = timedelta(minutes=5)
    """How long a live session whose state cannot be looked up may go on."""
