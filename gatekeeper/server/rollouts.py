"""The rollout of published versions as one process takes part in it: its share of what is seen, and the common state.

Inside holds: the state is one small file in the state directory, changed under a lock and only by who still sees the
state that the change is made from; so of several workers one makes each step, and all follow it. What each has seen
lies beside it. Everything but `begin_trial` and `note` blocks on the disk.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gatekeeper.adapters.bundles.durable import replace
from gatekeeper.adapters.bundles.store import ROLLOUT_FILE, BundleStore
from gatekeeper.domain.decision import Decision
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.gate.ruling import Trial
from gatekeeper.ports.clock import Clock
from gatekeeper.publishing.approval import Approved
from gatekeeper.publishing.rollout import (
    Figures,
    Rollout,
    RolloutSettings,
    Stage,
    begin,
    covers,
    next_rollout,
    parse_rollout,
)
from gatekeeper.publishing.tally import Tally, causes, together
from gatekeeper.server.publications import Publications

_DIRECTORY = "policy-rollout"
_AT_ONCE = RolloutSettings()
NOTHING_SEEN = Figures()
_TELL_EVERY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of a look at the state."""

    rollout: Rollout
    is_new: bool = False
    """It is another one than before: the policies must be put in their places."""
    is_ours: bool = False
    """This process made the step, and so records it."""
    here: Figures = NOTHING_SEEN
    elsewhere: Figures = NOTHING_SEEN


class Rollouts:
    """Of the versions that `publications` accepts. `resume` comes first."""

    def __init__(
        self,
        settings: RolloutSettings | None,
        publications: Publications,
        state_directory: Path,
        clock: Clock,
        *,
        worker: str = "",
    ) -> None:
        """`settings`: None, and every version is for everybody at once. `worker`: another one in each process."""
        self.settings = settings or _AT_ONCE
        self._is_on = settings is not None
        self._publications = publications
        self._store = BundleStore(state_directory / _DIRECTORY)
        self._clock = clock
        self._seen_file = f"seen-{worker or os.getpid()}.json"
        self.tally = Tally(self.settings.window)
        self.rollout: Rollout | None = None
        self.base: Approved | None = None
        """Rules for everybody whom the rollout does not cover."""
        self.newest: Approved | None = None
        """The version that is rolled out."""
        self.resumed: Settled | None = None
        """What `resume` did, to be recorded."""
        self._told_at: datetime | None = None

    def resume(self) -> None:
        """Go on where the last process stopped, or begin; raises DocumentError when that is not possible."""
        try:
            self.resumed = self.settle(NOTHING_SEEN, NOTHING_SEEN)
        except (OSError, ValueError) as error:
            path = self._store.directory / ROLLOUT_FILE
            raise DocumentError([Fault(str(path), "", f"cannot be used: {error}")]) from error

    def settle(self, here: Figures, elsewhere: Figures) -> Settled:
        """Follow the common state, or make the next step; raises OSError, ValueError.

        `here` and `elsewhere`: seen by this process, on both sides.
        """
        accepted, now = self._publications.accepted, self._clock.now()
        if accepted is None:
            raise ValueError("no version is accepted")
        version = accepted.statement.version
        seen = self._read()
        new, is_ours = seen, False
        if seen is None or seen.version < version:
            new, is_ours = self._change(seen, self._begun(seen, accepted, now))
        elif seen.version == version and seen == self.rollout and seen.stage is Stage.WIDENING:
            here, elsewhere = self._seen_by_all(seen, here, elsewhere, now)
            following = next_rollout(seen, self.settings, here, elsewhere, self._kept(), now)
            if following != seen:
                new, is_ours = self._change(seen, following)
        if new is None or new.version > version:
            # Another worker has seen a version that this one has not looked at yet.
            return Settled(self.rollout or begin(None, version, now, at_once=True))
        is_new = new != self.rollout
        if is_new:
            self._place(new, accepted)
        return Settled(new, is_new, is_ours, here, elsewhere)

    @property
    def progress(self) -> tuple[int, int] | None:
        """The version that rules for all but a share, and the percentage that the newest one rules for."""
        rollout = self.rollout
        return None if rollout is None else (rollout.last_good, rollout.percent(self.settings))

    def inherit(self, before: "Rollouts") -> None:
        """Go on with what was seen before a reload, when it is the same step of the same rollout."""
        if before.rollout == self.rollout and before.settings.window == self.settings.window:
            self.tally = before.tally

    def begin_trial(self) -> Trial | None:
        """What the gate is given besides the base policy; None: nothing is being rolled out."""
        rollout, newest = self.rollout, self.newest
        if rollout is None or newest is None or rollout.stage is not Stage.WIDENING:
            return None
        version, percent = rollout.version, rollout.percent(self.settings)
        return Trial(newest.policy, lambda unit: covers(version, percent, unit), self.note)

    def note(self, unit: str, is_new: bool, decision: Decision) -> None:
        """The gate has decided about somebody."""
        self.tally.note(unit, causes(decision), self._clock.now(), is_new=is_new)

    def begin_step(self) -> None:
        """Each step is judged by what is seen at it; on the thread that notes."""
        self.tally.clear()

    def figures(self) -> tuple[Figures, Figures]:
        """What this process has seen: where the new version rules, and elsewhere."""
        now = self._clock.now()
        return self.tally.figures(now, is_new=True), self.tally.figures(now, is_new=False)

    def _begun(self, before: Rollout | None, accepted: Approved, now: datetime) -> Rollout:
        at_once = not self._is_on or before is None
        if before is not None and not at_once:
            base = self._approved(before.last_good)
            back_to = self._publications.rolled_back_to(accepted)
            is_known = back_to is not None and back_to <= before.last_good and back_to not in before.halted
            at_once = base is None or is_known or base.policy.sha256 == accepted.policy.sha256
        return begin(before, accepted.statement.version, now, at_once=at_once)

    def _place(self, rollout: Rollout, accepted: Approved) -> None:
        """Have both versions at hand."""
        base = accepted if rollout.stage is Stage.DONE else self._approved(rollout.base)
        if base is None:
            raise ValueError(f"version {rollout.base}, which rules where {rollout.version} does not, is not there")
        self.base, self.newest = base, accepted
        self.rollout, self._told_at = rollout, None

    def _approved(self, version: int) -> Approved | None:
        for known in (self.base, self.newest, self._publications.accepted):
            if known is not None and known.statement.version == version:
                return known
        return self._publications.older(version)

    def _kept(self) -> frozenset[str]:
        if self.base is None or self.newest is None:
            return frozenset()
        return frozenset(rule.id for rule in self.base.policy.rules) & {rule.id for rule in self.newest.policy.rules}

    def _read(self) -> Rollout | None:
        data = self._store.read_state(ROLLOUT_FILE)
        return None if data is None else parse_rollout(data)

    def _change(self, seen: Rollout | None, new: Rollout) -> tuple[Rollout, bool]:
        """Write the new state, unless somebody was quicker; what is then in force, and whether it is ours."""
        with self._store.locked():
            now_there = self._read()
            if now_there is not None and now_there != seen:
                return now_there, False
            self._store.write_state(ROLLOUT_FILE, new.encode())
        return new, True

    def _seen_by_all(
        self, rollout: Rollout, here: Figures, elsewhere: Figures, now: datetime
    ) -> tuple[Figures, Figures]:
        """What this process and the other workers saw at this step within the window."""
        mine = self._store.directory / self._seen_file
        key = [rollout.version, rollout.step]
        if self._told_at is None or now - self._told_at >= _TELL_EVERY:
            sides = [[side.seen, dict(side.blocked)] for side in (here, elsewhere)]
            replace(mine, json.dumps({"of": key, "at": now.isoformat(), "sides": sides}).encode())
            self._told_at = now
        parts: tuple[dict[str, Figures], dict[str, Figures]] = ({"": here}, {"": elsewhere})
        for path in self._store.directory.glob("seen-*.json"):
            if path == mine:
                continue
            found = _others(path, key, now - self.settings.window)
            if found is None:
                continue
            for part, figures in zip(parts, found, strict=True):
                part[path.name] = figures
        return together(parts[0]), together(parts[1])


def last_good(state_directory: Path, newest: int) -> int:
    """The version that rules where the newest one does not; the newest one itself when its rollout is done."""
    try:
        data = BundleStore(state_directory / _DIRECTORY).read_state(ROLLOUT_FILE)
        rollout = None if data is None else parse_rollout(data)
    except (OSError, ValueError):
        return newest
    return newest if rollout is None else min(rollout.last_good, newest)


def _others(path: Path, key: list[int], begin_at: datetime) -> tuple[Figures, Figures] | None:
    try:
        facts = json.loads(path.read_bytes())
        at = datetime.fromisoformat(facts["at"])
        if at < begin_at - timedelta(days=1):
            path.unlink(missing_ok=True)
        if facts["of"] != key or at < begin_at:
            return None
        one, other = (Figures(int(seen), Counter(blocked)) for seen, blocked in facts["sides"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return one, other
