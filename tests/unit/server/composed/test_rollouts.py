"""Rollouts as workers take part in them: one makes each step, all follow, and a restart goes on where it was."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.adapters.bundles.store import BundleStore
from gatekeeper.config.settings import BundleSettings
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import DEFAULT
from gatekeeper.publishing.breaker import BreakerSettings
from gatekeeper.publishing.rollout import RolloutSettings, Stage
from gatekeeper.server.publications import Publications
from gatekeeper.server.rollouts import Rollouts, Settled, last_good
from testkit.audit_log import StandingClock
from testkit.publishing import approvers, bundle, policy_text
from testkit.reports import NOW

CANARY = RolloutSettings(steps=(5, 50), step_time=timedelta(minutes=10), min_sample=20)
LAX, TYPO = policy_text(no_chat="com.chat"), policy_text(no_chat="com.*")


@dataclass
class Site:
    """A store of bundles, a state directory, a clock, and any number of workers."""

    directory: Path
    clock: StandingClock = field(default_factory=lambda: StandingClock(NOW))
    canary: RolloutSettings | None = CANARY

    @property
    def store(self) -> BundleStore:
        """Of bundles."""
        return BundleStore(self.directory / "published")

    def publish(self, version: int, text: str) -> None:
        """A good bundle."""
        self.store.publish(version, bundle(version, text).encode())

    def worker(self, name: str = "w1") -> "Worker":
        """One that starts now."""
        settings = BundleSettings(
            directory=self.store.directory, approvers=approvers(), breaker=BreakerSettings(), canary=self.canary
        )
        publications = Publications(settings, DEFAULT, self.directory)
        publications.start()
        rollouts = Rollouts(self.canary, publications, self.directory, self.clock, worker=name)
        rollouts.resume()
        return Worker(publications, rollouts)


@dataclass
class Worker:
    """One process's part."""

    publications: Publications
    rollouts: Rollouts

    def step(self) -> Settled:
        """As the background loop does it."""
        self.publications.look()
        settled = self.rollouts.settle(*self.rollouts.figures())
        if settled.is_new:
            self.rollouts.begin_step()
        return settled

    def sees(self, devices: range, *causes: str, is_new: bool = True) -> None:
        """Decisions about devices."""
        for number in devices:
            self.rollouts.tally.note(f"ph-{number}", causes, self.rollouts._clock.now(), is_new=is_new)

    @property
    def versions(self) -> tuple[int, int | None]:
        """What rules: for the rest, and for the share."""
        base, trial = self.rollouts.base, self.rollouts.begin_trial()
        assert base is not None
        assert self.rollouts.newest is not None
        return base.statement.version, self.rollouts.newest.statement.version if trial else None


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Version 1 is published."""
    site = Site(tmp_path)
    site.publish(1, LAX)
    return site


def test_the_first_version_is_for_everybody(site: Site) -> None:
    """Before it nobody had mail."""
    assert site.worker().versions == (1, None)


def test_a_new_version_sets_out_and_arrives(site: Site) -> None:
    """Five percent, fifty, everybody; each step is recorded by who makes it."""
    worker = site.worker()
    site.publish(2, TYPO)
    assert worker.step().is_ours
    assert worker.versions == (1, 2)
    for expected in (50, 100):
        site.clock.instant += timedelta(minutes=10)
        worker.sees(range(20))
        settled = worker.step()
        assert (settled.is_ours, settled.rollout.percent(CANARY), settled.here.seen) == (True, expected, 20)
    assert worker.versions == (2, None)
    assert last_good(site.directory, 2) == 2


def test_it_halts_itself_and_stays_halted(site: Site) -> None:
    """On all workers and after a restart; a further version starts from the last good one."""
    one, other = site.worker("w1"), site.worker("w2")
    site.publish(2, TYPO)
    one.step()
    other.step()
    one.sees(range(20), "no-chat")
    halted = one.step()
    assert (halted.is_ours, halted.rollout.stage) == (True, Stage.HALTED)
    followed = other.step()
    assert (followed.is_new, followed.is_ours, followed.rollout.stage) == (True, False, Stage.HALTED)
    assert one.versions == other.versions == site.worker().versions == (1, None)
    assert last_good(site.directory, 2) == 1

    site.publish(3, policy_text(no_chat="com.chat.*"))
    assert one.step().rollout.base == 1
    assert one.versions == (1, 3)


def test_of_two_workers_one_makes_each_step(site: Site) -> None:
    """Whoever is first; the other one finds it made."""
    one, other = site.worker("w1"), site.worker("w2")
    site.publish(2, TYPO)
    for _ in range(3):
        made = [one.step(), other.step()]
        assert [settled.is_ours for settled in made] == [True, False]
        assert made[0].rollout == made[1].rollout
        site.clock.instant += timedelta(minutes=10)
        one.sees(range(20))
        other.sees(range(100, 120))
    assert one.versions == (2, None)


def test_what_workers_see_counts_together(site: Site) -> None:
    """Ten devices each are twenty."""
    one, other = site.worker("w1"), site.worker("w2")
    site.publish(2, TYPO)
    one.step()
    other.step()
    one.sees(range(10), "no-chat")
    other.sees(range(10, 20), "no-chat")
    assert not one.step().is_new
    halted = other.step()

    assert halted.rollout.stage is Stage.HALTED
    assert halted.here.seen == 20


def test_a_restart_goes_on_at_the_same_step(site: Site) -> None:
    """With the same devices, and a sample of its own."""
    worker = site.worker()
    site.publish(2, TYPO)
    worker.step()
    again = site.worker()
    assert again.versions == (1, 2)
    assert again.rollouts.rollout == worker.rollouts.rollout
    assert not again.step().is_new


def test_a_version_published_while_nobody_served_sets_out_at_the_start(site: Site) -> None:
    """The one before is still there for the rest."""
    site.worker()
    site.publish(2, TYPO)
    assert site.worker().versions == (1, 2)


def test_a_rollback_is_for_everybody_at_once(site: Site) -> None:
    """When what it brings back ruled for everybody; what was halted is not brought back unseen."""
    worker = site.worker()
    site.publish(2, TYPO)
    worker.step()
    worker.sees(range(20), "no-chat")
    worker.step()
    for version, older, text, expected in ((3, 2, TYPO, (1, 3)), (4, 1, LAX, (4, None))):
        made = bundle(version, text, reason=f"rollback to {older}: typo")
        site.store.publish(version, made.encode())
        worker.step()
        assert worker.versions == expected


def test_what_was_halted_is_not_brought_back_unseen_by_a_later_one(site: Site) -> None:
    """Though a newer version than it rules for everybody by then."""
    worker = site.worker()
    site.publish(2, TYPO)
    worker.step()
    worker.sees(range(20), "no-chat")
    worker.step()
    site.publish(3, policy_text(no_chat="com.chat.*"))
    for _ in range(3):
        worker.step()
        site.clock.instant += timedelta(minutes=10)
        worker.sees(range(20))
    assert worker.versions == (3, None)
    site.store.publish(4, bundle(4, TYPO, reason="rollback to 2: again").encode())
    worker.step()
    assert worker.versions == (3, 4)


def test_a_step_that_another_one_made_is_not_made_again(site: Site) -> None:
    """Who still sees the old state writes nothing over the new one."""
    one, other = site.worker("w1"), site.worker("w2")
    site.publish(2, TYPO)
    one.step()
    other.step()
    seen = one.rollouts.rollout
    assert seen is not None
    other.sees(range(20), "no-chat")
    halted = other.step().rollout

    assert one.rollouts._change(seen, replace(seen, step=1)) == (halted, False)
    assert one.step().rollout == halted


def test_without_a_canary_every_version_is_for_everybody(site: Site) -> None:
    """At once."""
    site.canary = None
    worker = site.worker()
    site.publish(2, TYPO)
    worker.step()
    assert worker.versions == (2, None)


def test_a_state_that_cannot_be_read_stops_the_start(site: Site) -> None:
    """And one whose last good version is gone, when that is the one that rules."""
    worker = site.worker()
    path = site.directory / "policy-rollout" / "rollout.json"
    site.publish(2, TYPO)
    worker.step()
    worker.sees(range(20), "no-chat")
    worker.step()
    (site.store.directory / "0000000001.bundle").unlink()
    assert worker.versions == (1, None)
    assert not worker.step().is_new
    with pytest.raises(DocumentError, match="version 1, which rules where 2 does not, is not there"):
        site.worker()
    path.write_text("rubbish")
    with pytest.raises(DocumentError, match="is not the state of a rollout"):
        site.worker()
