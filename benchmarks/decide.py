"""CPU microseconds for one `decide`: 200 rules against a phone with 300 apps; the tail with 10,000 ids in 500 rules.

Rules are mixed: exact ids, globs, version ranges, signers. Phones are clean (the usual case), carry one denied app, or
come with a list that knows no signers (what an MDM of iPhones reports).
"""

import argparse
import hashlib
import json
import statistics
import time
import timeit
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gatekeeper.decision.decide import decide
from gatekeeper.decision.policy import Policy
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform
from gatekeeper.domain.posture import Assurance, AttestationResult, Binding, Posture, Scope, Subject
from gatekeeper.domain.request import MailProtocol, Request

RULES, APPS = 200, 300
LARGE_RULES, LARGE_IDS = 500, 10_000
NOW = datetime(2020, 7, 10, 18, tzinfo=UTC)


def word(number: int) -> str:
    """A label as app ids have them: letters, the same on every run."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:9].translate(str.maketrans("0123456789", "ghijklmnop"))


def matcher(number: int) -> str:
    platform = 'platform = "android", ' if number % 2 else ""
    match number % 100:
        case 0:
            return f'{platform}id = "com.{word(-number)}*"'  # less than two whole labels
        case 4:
            return f'{platform}id = "com.google.{word(-number)}.*"'  # a beginning that every phone has
    match number % 20:
        case 0 | 1 | 2 | 3 | 4:
            return f'{platform}id = "com.{word(-number)}.*"'
        case 5 | 6 | 7 | 8:
            return f'{platform}id = "com.old{number}.app", version = ">=1.0,<2.3 || code<2023705000"'
        case 9 | 10:
            return f'{platform}signer_sha256 = "{number:064x}"'
        case 11:
            return f'{platform}id = "com.known{number}.app", signer_sha256 = "{number:064x}"'
        case _:
            return f'{platform}id = "com.denied{number}.app"'


def policy(*, leading_wildcard: bool = False) -> Policy:
    matchers = [matcher(number) for number in range(RULES)]
    if leading_wildcard:
        matchers[7] = f'id = "*.{word(-7)}*"'  # nothing to index by
    rules = "\n".join(
        f'[[rule]]\nid = "r{number}"\napps = [{{ {each} }}]\n'
        'scope = { device_class = ["mobile"], not_users = ["ciso@example.com"] }\n'
        'phases = { warn = "2020-07-10T09:00:00Z", enforce = "2020-07-10T17:00:00Z" }'
        for number, each in enumerate(matchers)
    )
    return parse_policy(f"schema = 1\n{rules}\n".encode(), source="benchmark")


def large_policy() -> Policy:
    """10,000 ids in 500 rules, a tenth of them globs, each rule with its own scope, grace and rollout."""
    rules = "\n".join(
        f'[[rule]]\nid = "r{number}"\napps = [{", ".join(_ids(number))}]\n'
        'scope = { device_class = ["mobile"], not_users = ["ciso@example.com"] }\n'
        'phases = { warn = "2020-07-01", enforce = "2020-07-09" }\n'
        'grace = { per_device = "7d", cap = "2020-07-20" }\nrollout = [{ from = "2020-07-09", percent = 100 }]'
        for number in range(LARGE_RULES)
    )
    return parse_policy(f"schema = 1\n{rules}\n".encode(), source="benchmark")


def _ids(rule: int) -> list[str]:
    each = LARGE_IDS // LARGE_RULES
    found = [f'{{ id = "com.{word(-rule * each - number)}.*" }}' for number in range(each // 10)]
    return found + [f'{{ id = "com.denied{rule}.app{number}" }}' for number in range(each - len(found))]


def subject(*, denied: bool = False, signers: bool = True, denied_id: str = "com.denied13.app") -> Subject:
    apps = [
        App(
            id=f"com.{'google' if number % 5 == 0 else word(number)}.{word(number + 1000)}",
            name=word(number + 1000).title(),
            version=f"{number}.1.2",
            version_code=2020000000 + number,
            signer_sha256=(f"{number + 10_000:064x}",) if signers else (),
        )
        for number in range(APPS - denied)
    ]
    if denied:
        apps.append(App(id=denied_id, name="Denied", version="1.0", signer_sha256=(f"{1:064x}",)))
    device = Device(
        device_id=DeviceId("ph-001"), account="alice@example.com", platform=Platform.ANDROID,
        device_class=DeviceClass.MOBILE, ownership=Ownership.COMPANY, first_seen=NOW - timedelta(days=400),
    )  # fmt: skip
    result = AttestationResult(
        source="mdm", scope=Scope.FULL, complete=True, collected_at=NOW - timedelta(hours=1), evidence_sha256="0" * 64,
        apps=AppList(apps),
    )  # fmt: skip
    binding = Binding(assurance=Assurance.USER, method="user")
    return Subject(binding=binding, postures=(Posture(device=device, result=result),))


def allow_list() -> tuple[Policy, Subject]:
    """A phone with some apps more than the 280 that are allowed, two that must be there, and an oldest system."""
    (posture,) = subject().postures
    assert posture.result is not None
    ids = [app.id for app in posture.result.apps.apps]
    text = (
        "schema = 1\n"
        f'[[rule]]\nid = "allowed"\nonly_apps = [{", ".join(f"""{{ id = "{each}" }}""" for each in ids[:280])}]\n'
        'phases = { enforce = "2020-07-01" }\n'
        f'[[rule]]\nid = "needed"\nrequired_apps = [{{ id = "{ids[3]}" }}, {{ id = "{ids[4]}" }}]\n'
        'min_os = { android = "10" }\nphases = { enforce = "2020-07-01" }\n'
    )
    posture = replace(posture, result=replace(posture.result, os_version="14"))
    return parse_policy(text.encode(), source="benchmark"), replace(subject(), postures=(posture,))


def measure(the_policy: Policy, the_subject: Subject, *, repeat: int, number: int) -> dict[str, float]:
    """Median and best of `repeat` runs of `number` calls, in microseconds a call."""
    request = Request(account="alice@example.com", protocol=MailProtocol.IMAP, listener="imaps")
    runs = timeit.repeat(
        lambda: decide(the_policy, the_subject, request, NOW), timer=time.process_time, repeat=repeat, number=number
    )
    return {name: round(pick(runs) / number * 1e6, 2) for name, pick in (("median", statistics.median), ("best", min))}


def tail(the_policy: Policy, the_subject: Subject, *, number: int) -> dict[str, float]:
    """Median, 99th percentile and worst of single calls, in microseconds of wall clock."""
    request = Request(account="alice@example.com", protocol=MailProtocol.IMAP, listener="imaps")
    clock = time.perf_counter_ns
    times = []
    for _ in range(number):
        begin = clock()
        decide(the_policy, the_subject, request, NOW)
        times.append(clock() - begin)
    times.sort()
    picked = {"median": times[number // 2], "p99": times[number * 99 // 100], "worst": times[-1]}
    return {name: round(each / 1000, 1) for name, each in picked.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    cases = {
        "clean": (policy(), subject()),
        "denied": (policy(), subject(denied=True)),
        "clean, a rule `*.name*`": (policy(leading_wildcard=True), subject()),
        "signers not known": (policy(), subject(signers=False)),
    }
    repeat, number = (3, 500) if options.quick else (31, 1000)
    figures = {name: measure(*case, repeat=repeat, number=number) for name, case in cases.items()}
    allowed = measure(*allow_list(), repeat=repeat, number=number)
    begin = time.perf_counter()
    large = large_policy()
    compiled_s = round(time.perf_counter() - begin, 2)
    hit = subject(denied=True, denied_id="com.denied13.app7")
    tails = {
        name: tail(large, each, number=2_000 if options.quick else 50_000)
        for name, each in (("clean", subject()), ("denied", hit))
    }
    if options.json:
        facts = {"rules": LARGE_RULES, "ids": LARGE_IDS, "compiled_s": compiled_s, "us_wall": tails}
        print(
            json.dumps({"rules": RULES, "apps": APPS, "us_per_decide": figures, "allow_list": allowed, "large": facts})
        )
        return
    print(f"decide: {RULES} rules x {APPS} apps, CPU microseconds (median of {repeat} runs, best)")
    for name, figure in figures.items():
        print(f"  {name:<26} {figure['median']:7.1f} {figure['best']:7.1f}")
    print(f"  {'280 apps allowed, demands':<26} {allowed['median']:7.1f} {allowed['best']:7.1f}")
    print(
        f"{LARGE_IDS:,} ids in {LARGE_RULES} rules (compiled in {compiled_s} s), wall microseconds: median, p99, worst"
    )
    for name, figure in tails.items():
        print(f"  {name:<26} {figure['median']:7.1f} {figure['p99']:7.1f} {figure['worst']:7.1f}")


if __name__ == "__main__":
    main()
