"""Makes a store with very many devices, and a log of what was decided about them, in minutes instead of weeks.

The rows are those that imports would have written, of a few thousand different app lists; they go into the database in
the order of its trees. `python -m benchmarks.inventory --help`.
"""

import argparse
import asyncio
import json
import random
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from gatekeeper.adapters.stores.codec import encode_apps, encode_kind
from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.record import FIRST_PREV, encode
from gatekeeper.campaign.outline import Outline
from gatekeeper.decision.decide import decide
from gatekeeper.decision.policy import Policy
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform
from gatekeeper.domain.posture import Assurance, AttestationResult, Binding, Posture, Scope, Subject
from gatekeeper.domain.request import Connection, MailProtocol, Request

DENIED = "com.zhiliaoapp.musically"
KINDS = 3000
LISTS = 2000
PLATFORMS = (Platform.ANDROID, Platform.IOS)
CLASSES = (DeviceClass.LAPTOP, DeviceClass.MOBILE)
OWNERSHIPS = (Ownership.COMPANY, Ownership.PERSONAL, None)

IN_FORCE = """
schema = 1
[defaults]
evidence_max_age = "48h"
stale = { action = "warn", then = "block", after = "72h" }
insufficient = { company = "block", personal = "warn" }
[groups]
press = ["user0000003@example.com", "user0000007@example.com"]
[[rule]]
id = "no-reader"
apps = [{ id = "com.vendor2107.app" }, { id = "com.vendor2108.*" }]
phases = { enforce = "2026-01-01" }
"""
CANDIDATE = (
    IN_FORCE
    + """
[[rule]]
id = "no-tiktok"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }, { platform = "ios", id = "com.zhiliaoapp.*" }]
scope = { not_groups = ["press"] }
phases = { warn = "2026-01-01", enforce = "%s" }
[[exemption]]
id = "ex-1"
rule = "no-tiktok"
users = ["user0000002@example.com"]
devices = ["dev-0000005"]
expires = "%s"
reason = "r"
approved_by = ["a"]
"""
)


def policies(now: datetime) -> tuple[str, str]:
    """The policy in force, and a candidate whose dates lie before `now` and in the days to come."""
    return IN_FORCE, CANDIDATE % ((now + timedelta(days=3)).isoformat(), (now + timedelta(days=5)).date())


def make_lists(apps: int, share: float, dice: random.Random) -> list[AppList]:
    """Different app lists; a share of them has the denied app."""
    kinds = [App(id=f"com.vendor{n:04}.app", name=f"App {n}", version=f"{n % 9}.{n % 7}") for n in range(KINDS)]
    denied = App(id=DENIED, name="TikTok", version="16.6.5")
    weights = [1 / (n + 1) for n in range(10, KINDS + 10)]
    lists = []
    for number in range(LISTS):
        chosen = dict.fromkeys(dice.choices(kinds, weights, k=apps * 2))
        with_it = [denied] if number < LISTS * share else []
        lists.append(AppList([*islice(chosen, apps - len(with_it)), *with_it]))
    return lists


def make_store(path: Path, devices: int, apps: int, share: float, days: int, now: datetime) -> list[AppList]:
    """The database; each device has a posture for each of the last `days`, the app list always the same."""
    dice = random.Random(2020)
    lists = make_lists(apps, share, dice)

    async def empty() -> None:
        async with open_store(f"sqlite:///{path}"):
            pass

    asyncio.run(empty())
    connection = sqlite3.connect(path, isolation_level=None)
    # Nothing reads it yet: what is written goes straight into the file, once.
    connection.executescript(
        "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;"
        "PRAGMA cache_size = -400000; BEGIN"
    )
    texts = [encode_apps(each) for each in lists]
    kinds = sorted({encode_kind(app) for each in lists for app in each.apps})
    numbers = {kind: number for number, kind in enumerate(kinds, start=1)}
    of = [dice.randrange(LISTS) for _ in range(devices)]
    seen = _micros(now - timedelta(days=400))
    at = [_micros(now - timedelta(hours=_age(n))) for n in range(3600)]  # as n % 3600 has it: see `_age`
    facts = [(PLATFORMS[n % 3 > 0], CLASSES[n % 20 > 0], OWNERSHIPS[n % 3]) for n in range(60)]
    sizes = [(len(each), each.absences) for each in lists]
    _insert(connection, "app (number, facts)", ((number, kind) for kind, number in numbers.items()))
    _insert(
        connection,
        "device (device_id, account, platform, device_class, ownership, identifiers, first_seen)",
        ((_id(n), _account(n), *facts[n % 60], "{}", seen + n) for n in range(devices)),
    )
    _insert(
        connection,
        "posture (number, device_id, revision, source, scope, complete, collected_at, evidence_sha256, apps_count, absences)",
        (
            (
                n + 1,
                _id(n),
                at[n % 3600],
                "mdm",
                "full",
                n % 50 != 0,
                at[n % 3600] - n % 3600 * 1_000_000,
                f"{n:064x}",
                *sizes[of[n]],
            )
            for n in range(devices)
        ),
    )
    _insert(
        connection,
        "attestation_result (device_id, source, scope, collected_at, complete, evidence_sha256, apps)",
        (
            (
                _id(n),
                "mdm",
                "full",
                at[n % 3600] - n % 3600 * 1_000_000,
                n % 50 != 0,
                f"{n:064x}",
                texts[of[n]],
            )
            for n in range(devices)
        ),
    )
    _index(connection, lists, numbers, of)
    if days:
        _insert(
            connection,
            "past_posture (device_id, revision, until, facts, added, removed)",
            _past(devices, days, now, lists, of),
        )
    row = (_id(0), _account(0), _micros(now), "inventory", "", "")
    _insert(connection, "change (device_id, account, at, kind, digest, detail)", [row])
    connection.execute("COMMIT")
    connection.close()
    return [lists[which] for which in of]


def _index(connection: sqlite3.Connection, lists: list[AppList], numbers: dict[str, int], of: list[int]) -> None:
    """From apps to devices, in the order of its tree; SQLite makes the rows of an array, millions of them."""
    by_list: list[list[int]] = [[] for _ in lists]
    for n, which in enumerate(of):
        by_list[which].append(n + 1)
    by_app: dict[int, list[int]] = {}
    for which, each in enumerate(lists):
        for app in {numbers[encode_kind(app)] for app in each.apps}:
            by_app.setdefault(app, []).append(which)
    for app in sorted(by_app):
        holders = sorted(n for which in by_app[app] for n in by_list[which])
        connection.execute("INSERT INTO device_app SELECT ?, value FROM json_each(?)", (app, str(holders)))


def make_log(directory: Path, devices: int, days: int, lists: list[AppList], now: datetime) -> int:
    """One decision a device and day, by the policy in force, as the gate records it.

    Devices that the policy cannot tell apart have one line, decided and encoded once; into it go the names and times.
    """
    policy = parse_policy(policies(now)[0].encode(), source="in-force.toml")
    outline = Outline([policy])
    kinds = {id(each): outline.outline(each) for each in {id(each): each for each in lists}.values()}
    lines: dict[tuple[object, ...], bytes] = {}
    (directory / "segments").mkdir(parents=True)
    sequence = 0
    for day in range(days, -1, -1):
        begin = now - timedelta(days=day)
        began, end = _micros(begin) // 1000, _micros(now) // 1000
        path = directory / "segments" / f"{sequence:020d}-{begin:%Y%m%dT%H%M%SZ}.jsonl"
        with path.open("wb", 1 << 20) as file:
            for n in range(devices):
                key = (kinds[id(lists[n])], n % 60, n % 50 == 0, _age(n))
                line = lines.get(key)
                if line is None:
                    line = lines[key] = _line(policy, _posture(n, day, now, lists[n]), begin)
                named = (b"%d" % sequence, b"%d" % min(began + n, end), _account(n).encode(), _id(n).encode())
                revision = _micros(begin) - _age(n) * 3_600_000_000
                file.write(line % {b"n": named[0], b"t": named[1], b"u": named[2], b"d": named[3], b"r": revision})
                sequence += 1
    return sequence


def _line(policy: Policy, posture: Posture, at: datetime) -> bytes:
    """A record with places for number, time, account, device and revision."""
    device = replace(posture.device, device_id=DeviceId("THE-DEVICE"), account="account@example.com")
    posture = replace(posture, device=device, revision=1_111_111_111)
    request = Request(account=device.account, protocol=MailProtocol.IMAP, listener="imaps")
    binding = Binding(assurance=Assurance.USER, method="user")
    decision = decide(policy, Subject(binding=binding, postures=(posture,)), request, at)
    event = Event(
        code=EventCode.SESSION_ALLOWED,
        time=at,
        connection=Connection("c" * 22, MailProtocol.IMAP, "imaps", "198.51.100.7", 40000, 993),
        account=request.account,
        mechanism="PLAIN",
        decision=decision,
    )
    line = encode(event, sequence=9_999_999_999, prev=FIRST_PREV, origin="bench.example/1", address_prefix=(24, 48))
    line = line.replace(b"%", b"%%")
    places = (
        (b"9999999999", b"%(n)b"),
        (b"%d" % (_micros(at) // 1000), b"%(t)b"),
        (b"account@example.com", b"%(u)b"),
        (b"THE-DEVICE", b"%(d)b"),
        (b"1111111111", b"%(r)d"),
    )
    for word, place in places:
        assert word in line or not decision.judged, word  # laptops of people without a phone are judged by nothing
        line = line.replace(word, place)
    return line + b"\n"


def _posture(n: int, day: int, now: datetime, apps: AppList) -> Posture:
    at = now - timedelta(days=day, hours=_age(n))
    device = Device(
        device_id=DeviceId(_id(n)),
        account=_account(n),
        platform=PLATFORMS[n % 3 > 0],
        device_class=CLASSES[n % 20 > 0],
        ownership=OWNERSHIPS[n % 3],
    )
    result = AttestationResult(
        source="mdm",
        scope=Scope.FULL,
        complete=n % 50 != 0,
        collected_at=at - timedelta(seconds=n % 3600),
        evidence_sha256=f"{n:064x}",
        apps=apps,
    )
    return Posture(device=device, result=result, revision=_micros(at))


def _past(devices: int, days: int, now: datetime, lists: list[AppList], of: list[int]) -> Iterator[tuple[object, ...]]:
    absences = [each.absences for each in lists]
    for n in range(devices):
        posture = _posture(n, 0, now, lists[of[n]])
        facts: dict[str, object] = {
            "account": posture.device.account,
            "platform": posture.device.platform,
            "device_class": posture.device.device_class,
            "ownership": posture.device.ownership,
            "first_seen": (now - timedelta(days=400)).isoformat(),
            "source": "mdm",
            "scope": Scope.FULL,
            "complete": n % 50 != 0,
            "collected_at": "THEN",
            "evidence_sha256": f"{n:064x}",
            "absences": absences[of[n]],
            "stated": None,
        }
        text = json.dumps(facts, separators=(",", ":"))
        collected = now - timedelta(hours=_age(n), seconds=n % 3600)
        newest = _micros(now) - _age(n) * 3_600_000_000
        for day in range(days, 0, -1):
            then = (collected - timedelta(days=day)).isoformat()
            until = newest - (day - 1) * 86_400_000_000
            yield _id(n), until - 86_400_000_000, until, text.replace("THEN", then), "[]", "[]"


def _insert(connection: sqlite3.Connection, into: str, rows: Iterable[tuple[object, ...]]) -> None:
    marks = ", ".join("?" for _ in into.split("(")[1].split(","))
    connection.executemany(f"INSERT INTO {into} VALUES ({marks})", rows)


def _id(n: int) -> str:
    return f"dev-{n:07}"


def _account(n: int) -> str:
    """One person in four has two devices."""
    return f"user{n - 1 if n % 5 == 4 else n:07}@example.com"


def _age(n: int) -> int:
    """Hours since the last report: most report daily, some have stopped."""
    return n % 24 if n % 100 else 24 * (3 + n % 5)


def _micros(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def main() -> None:
    """Write `store.sqlite3`, `audit/`, `in-force.toml` and `candidate.toml` into a directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--apps", type=int, default=30, help="on each device")
    parser.add_argument("--share", type=float, default=0.02, help="of the devices that have the denied app")
    parser.add_argument("--days", type=int, default=0, help="of history and of log, one decision a device and day")
    parser.add_argument("--json", action="store_true", help="what was made, for machines")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    now = datetime.now(UTC).replace(microsecond=0)
    store = options.directory / "store.sqlite3"
    lists = make_store(store, options.devices, options.apps, options.share, options.days, now)
    in_force, candidate = policies(now)
    (options.directory / "in-force.toml").write_text(in_force)
    (options.directory / "candidate.toml").write_text(candidate)
    count = make_log(options.directory / "audit", options.devices, options.days, lists, now) if options.days else 0
    took, size = round(time.monotonic() - began), round(store.stat().st_size / 2**20)
    if options.json:
        print(json.dumps({"devices": options.devices, "decisions": count, "seconds": took, "store_mib": size}))
    else:
        print(f"made in {took} s, {size} MiB, {count} decisions", file=sys.stderr)


if __name__ == "__main__":
    main()
