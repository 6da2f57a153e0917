"""The recipes of the guide on a running gate with real log-ins: they begin by date, reach their share, are taken back.

The sessions of `docs/policy.md` that need a gate are performed here as they stand there; only the dates of the recipes
are moved to today.
"""

import hashlib
import re
import shutil
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from gatekeeper.adapters.bundles.store import BundleStore
from gatekeeper.cli.main import cli
from gatekeeper.decision.phases import bucket
from gatekeeper.signing.keys import locked
from testkit.bed import ALICE, ALICE_PHONE, BOB, BOB_PHONE, SPARE
from testkit.dovecot import Dovecot
from testkit.gate import GateProcess, coded, detail, upstream
from testkit.guide import EXAMPLES, ROOT, gate_session, perform
from testkit.inventory import TIKTOK, device
from testkit.publishing import NOVAK, ORIGIN, RUIZ, bundle, key
from testkit.sessions import imap_login_reply, imap_session
from testkit.waiting import eventually
from testkit.wire import Wire

BERLIN = ZoneInfo("Europe/Berlin")
PASSPHRASE = "correct horse battery"
GLASS = key("break-glass")
RESTORED_WITHIN_S = 5.0
"""From the command on, which is a process of its own."""
CUT_WITHIN_S = 2.0
LONG_AGO, MONTH = timedelta(days=-30), timedelta(days=30)
PILOT = 20
"""Phones with TikTok; their ids are taken so that the first two are in the pilot, the next four in its second step."""
_DATE = re.compile(r'"2027-\d\d-\d\dT\d\d:\d\d:\d\d"')


def recipe(name: str, *when: timedelta) -> str:
    """A recipe; its dates, in their order, lie so far from now."""
    text = (EXAMPLES / f"{name}.toml").read_text()
    dates = sorted(set(_DATE.findall(text)))
    assert len(dates) == len(when)
    now = datetime.now(UTC)  # noqa: TID251  the gate's clock is the real one
    for date, distance in zip(dates, when, strict=True):
        text = text.replace(date, f'"{(now + distance).astimezone(BERLIN).replace(tzinfo=None).isoformat()}"')
    return text


def pilot_ids() -> list[str]:
    """Two device ids below 5 percent of the rule's order, four below 25, the rest above."""
    ids = [f"ph-{number}" for number in range(400)]
    places = {each: bucket("no-tiktok", each) for each in ids}
    first = [each for each in ids if places[each] < 500][:2]
    second = [each for each in ids if 500 <= places[each] < 2500][:4]
    return [*first, *second, *[each for each in ids if places[each] >= 2500][: PILOT - 6]]


BASE = recipe("delete-by-friday", MONTH, MONTH).partition("[[rule]]")[0]
"""Its defaults alone: the policy before."""


class Site:
    """A gate, its people, and a shell in its directory."""

    def __init__(self, gate: GateProcess, context: ssl.SSLContext) -> None:
        self.gate = gate
        self.directory = gate.directory
        self._context = context

    def is_let_in(self, user: object) -> bool:
        """Log in; nobody is told anything but OK or the words of the recipe."""
        reply = self.reply(user)
        assert reply.startswith((b"OK", b"NO [UNAVAILABLE] TikTok must not be on a phone with company mail.")), reply
        return reply.startswith(b"OK")

    def reply(self, user: object) -> bytes:
        """The answer to a log-in."""
        return imap_login_reply(self.gate.ports.imaps, self._context, user)

    def session(self, user: object) -> Wire:
        """An open session."""
        return imap_session(self.gate.ports.imaps, self._context, user)

    def import_devices(self, *lines: str) -> None:
        """Put devices on record."""
        (self.directory / "phones.jsonl").write_text("\n".join(lines))
        done = CliRunner().invoke(cli, ["inventory", "import", "phones.jsonl"])
        assert done.exit_code == 0, done.output

    def put_in_force(self, text: str) -> None:
        """As one file."""
        (self.directory / "config" / "policy.toml").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.gate.reload()
        eventually(lambda: self._in_force()[-1:] == [digest], within=20, what=self.gate.log)

    def _in_force(self) -> list[object]:
        """Every policy that was in force so far."""
        return [detail(one)["policy_sha256"] for one in coded(self.gate.audit_records(), "GK3002I")]


@pytest.fixture(scope="module")
def site(
    make_gate_anywhere: Callable[..., GateProcess], dovecot: Dovecot, stocked_store: Path, servers_ca: object
) -> Site:
    """One gate for all recipes, which remembers refusals as gates do: ALICE's phone is clean, BOB's has TikTok."""
    gate = make_gate_anywhere(
        {
            "upstream": {"imap": upstream(dovecot.imap_port)},
            "throttle": {"remember_refusals": "10m"},
            "policy": {"file": "config/policy.toml", "break_glass": {"key": str(GLASS.verifier)}},
            "listener": None,
        }
    )
    imaps = {"name": "imaps", "protocol": "imap", "bind": f"127.0.0.1:{gate.ports.imaps}", "tls": "implicit"}
    gate.configuration["listener"] = [imaps]
    gate.write_configuration(gate.configuration)
    shutil.copytree(ROOT / "config", gate.directory / "config")
    (gate.directory / "config" / "policy.toml").write_text(BASE)
    shutil.copy(stocked_store, gate.store_file)
    for name, signer in (("ruiz", RUIZ), ("novak", NOVAK), ("glass", GLASS)):
        (gate.directory / f"{name}.key").write_bytes(locked(signer, PASSPHRASE.encode()))
    gate.start()
    return Site(gate, gate.client_context())


@pytest.fixture(autouse=True)
def _at_home(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Type commands where the gate is: a process for each would take more time than all the rest."""
    monkeypatch.chdir(site.directory)
    monkeypatch.setenv("HOME", str(site.directory))
    monkeypatch.setenv("GATEKEEPER_CONFIG", str(site.gate.configuration_file))


def performed(session: str) -> list[str]:
    """A session of the guide; what each command printed, which is what the guide says."""
    return [perform(exchange, f"{PASSPHRASE}\n") for exchange in gate_session(session)]


def test_delete_by_friday(site: Site) -> None:
    """Before Monday nothing; then a warning on record; on Friday, while the session is open, it is cut and refused."""
    site.put_in_force(recipe("delete-by-friday", MONTH, 2 * MONTH))
    assert site.is_let_in(BOB)
    seconds = timedelta(seconds=4)
    begins = time.monotonic() + seconds.total_seconds()
    site.put_in_force(recipe("delete-by-friday", LONG_AGO, seconds))
    bob, alice = site.session(BOB), site.session(ALICE)
    warned = site.gate.wait_for_record(lambda one: bool(coded([one], "GK1005I")))
    assert detail(warned)["rules"] == ["no-tiktok"]

    bob.rest(within=seconds.total_seconds() + CUT_WITHIN_S + 3)
    bob.close()
    assert begins - 0.5 < time.monotonic() < begins + CUT_WITHIN_S
    assert not site.is_let_in(BOB)
    assert alice.imap(b"alive NOOP")[-1].startswith(b"alive OK")
    alice.close()

    site.import_devices(device(BOB_PHONE, BOB.login))
    eventually(lambda: site.is_let_in(BOB), within=15)
    site.import_devices(device(BOB_PHONE, BOB.login, TIKTOK))


def test_a_pilot_reaches_its_share_and_then_more(site: Site) -> None:
    """5 percent, then 25, then all; whoever is not reached yet is warned; sessions of those who are reached are cut."""
    people = dict(zip(pilot_ids(), SPARE, strict=False))
    assert len(people) == PILOT
    site.import_devices(*(device(each, user.login, TIKTOK) for each, user in people.items()))

    def let_in() -> list[bool]:
        return [site.is_let_in(user) for user in people.values()]

    def pilot(*steps: timedelta) -> None:
        site.put_in_force(recipe("pilot-five-percent", LONG_AGO, *steps))

    pilot(MONTH, 2 * MONTH, 3 * MONTH)
    assert all(let_in())
    first, last = (site.session(people[each]) for each in (pilot_ids()[0], pilot_ids()[-1]))
    pilot(LONG_AGO / 2, MONTH, 2 * MONTH)
    first.rest(within=CUT_WITHIN_S)
    first.close()
    assert let_in() == [False] * 2 + [True] * (PILOT - 2)
    pilot(LONG_AGO / 2, LONG_AGO / 3, MONTH)
    assert let_in() == [False] * 6 + [True] * (PILOT - 6)
    assert last.imap(b"alive NOOP")[-1].startswith(b"alive OK")
    pilot(LONG_AGO / 2, LONG_AGO / 3, LONG_AGO / 4)
    last.rest(within=CUT_WITHIN_S)
    last.close()
    assert not any(let_in())
    for each in people:
        assert each not in (ALICE_PHONE, BOB_PHONE)


def test_a_file_is_put_in_force_and_back(site: Site) -> None:
    """As the guide says; then only looked on, which lets in as well and keeps the record."""
    site.put_in_force(BASE)
    bob = site.session(BOB)
    (site.directory / "draft.toml").write_text(recipe("delete-by-friday", LONG_AGO, LONG_AGO / 2))
    performed("file")
    bob.rest(within=CUT_WITHIN_S)
    bob.close()
    assert not site.is_let_in(BOB)

    since = time.monotonic()
    performed("put-back")
    with site.session(BOB) as bob:
        assert time.monotonic() - since < RESTORED_WITHIN_S
        site.put_in_force(recipe("delete-by-friday", LONG_AGO, LONG_AGO / 2))
        bob.rest(within=CUT_WITHIN_S)
    site.put_in_force(recipe("take-it-back", LONG_AGO, LONG_AGO / 2))
    assert site.is_let_in(BOB)
    site.gate.wait_for_record(lambda one: bool(coded([one], "GK1006I")) and detail(one)["rules"] == ["no-tiktok"])


def test_a_bundle_is_published_watched_and_rolled_back(site: Site) -> None:
    """As the guide says, on a gate that is told to take bundles from now on."""
    bundles = {"directory": "published", "origin": ORIGIN, "approvers": [str(RUIZ.verifier), str(NOVAK.verifier)]}
    policy = {**site.gate.configuration["policy"], "bundles": bundles, "breaker": {"max_percent": 100}}
    BundleStore(site.directory / "published").publish(1, bundle(1, BASE).encode())
    site.gate.write_configuration({**site.gate.configuration, "policy": policy})
    site.gate.reload()
    site.gate.wait_for_record(lambda one: detail(one).get("policy_version") == 1)
    bob = site.session(BOB)
    (site.directory / "draft.toml").write_text(recipe("delete-by-friday", LONG_AGO, LONG_AGO / 2))
    performed("publish")
    bob.rest(within=CUT_WITHIN_S)
    bob.close()
    assert not site.is_let_in(BOB)
    performed("watch")

    *_, published = performed("roll-back")
    since = time.monotonic()
    with site.session(BOB) as bob:
        assert time.monotonic() - since < RESTORED_WITHIN_S
        assert bob.imap(b"alive NOOP")[-1].startswith(b"alive OK")
    assert "in force" in published


def test_break_glass_lets_everybody_in(site: Site) -> None:
    """As the guide says, and ends as it says."""
    site.gate.write_configuration(site.gate.configuration)
    site.put_in_force(recipe("delete-by-friday", LONG_AGO, LONG_AGO / 2))
    assert not site.is_let_in(BOB)
    opening, ending = gate_session("break-glass")
    since = time.monotonic()
    perform(opening, f"{PASSPHRASE}\ny\n")
    bob = site.session(BOB)
    assert time.monotonic() - since < RESTORED_WITHIN_S
    perform(ending)
    bob.rest(within=CUT_WITHIN_S)
    bob.close()
    assert not site.is_let_in(BOB)
