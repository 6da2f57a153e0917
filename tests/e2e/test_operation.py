"""The gate under its operator: start, reload, drain, health, and what it says about bad files."""

import json
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testkit import toml
from testkit.bed import ALICE, BOB
from testkit.dovecot import Dovecot
from testkit.gate import GateProcess, code, policy, upstream
from testkit.inventory import TIKTOK, device
from testkit.postfix import Postfix
from testkit.sessions import (
    imap_greeted,
    imap_login_reply,
    imap_session,
    smtp_greeted,
    smtp_login_reply,
    smtp_session,
)
from testkit.tls import Authority
from testkit.waiting import eventually

MakeGate = Callable[..., GateProcess]


@pytest.fixture
def served(make_gate: MakeGate, dovecot: Dovecot, postfix: Postfix) -> GateProcess:
    """Run a gate of the test's own in front of Dovecot and Postfix."""
    return make_gate({"upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)}})


# Health


def test_health_and_metrics(served: GateProcess, context: ssl.SSLContext) -> None:
    """`/livez` and `/readyz` say 200, and `/metrics` counts sessions and decisions."""
    imap_login_reply(served.ports.imaps, context, BOB)
    session = imap_session(served.ports.imaps, context, ALICE)

    assert served.get("/livez").status == 200
    assert served.get("/readyz").status == 200
    metrics = served.get("/metrics").body.decode()
    assert re.search(r"^gatekeeper_sessions_active(\{.*\})? 1(\.0)?$", metrics, re.MULTILINE)
    decisions = [line for line in metrics.splitlines() if line.startswith("gatekeeper_decisions_total")]
    assert [line for line in decisions if 'verdict="block"' in line and line.endswith((" 1.0", " 1"))]
    assert [line for line in decisions if 'verdict="allow"' in line]
    assert "gatekeeper_build_info" in metrics
    for name in (ALICE.login, BOB.login, "ph-alice"):
        assert name not in metrics, "metrics carry no identities"
    session.close()


def test_the_admin_port_is_not_on_a_mail_port(served: GateProcess, context: ssl.SSLContext) -> None:
    """An HTTP request on a mail port gets no HTTP answer."""
    with imap_greeted(served.ports.imaps, context) as wire:
        wire.send(b"GET /livez HTTP/1.0\r\n\r\n")
        assert not wire.line().startswith(b"HTTP/")


# Reload


def test_reload_with_bad_files_changes_nothing(served: GateProcess, context: ssl.SSLContext) -> None:
    """With a broken configuration or policy SIGHUP keeps the old one, says why, and drops no session."""
    session = imap_session(served.ports.imaps, context, ALICE)
    good = served.configuration_file.read_text()
    served.configuration_file.write_text(good.replace("drain_timeout", "drain_timeuot"))
    served.reload()
    eventually(lambda: "drain_timeuot" in served.log(), within=15, what=served.log)
    served.wait_for_record(lambda one: code(one) == "GK3031W")
    served.configuration_file.write_text(good)
    served.replace_policy(policy().replace("unknown_device", "unknown_devise"))
    served.reload()
    eventually(lambda: "unknown_devise" in served.log(), within=15, what=served.log)
    served.wait_for_records(2, lambda one: code(one) == "GK3031W")

    assert session.imap(b"x NOOP")[-1].startswith(b"x OK")
    session.close()
    assert imap_login_reply(served.ports.imaps, context, ALICE).startswith(b"OK")
    assert imap_login_reply(served.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")
    assert served.is_ready()


def test_reload_takes_a_new_policy(served: GateProcess, context: ssl.SSLContext) -> None:
    """A policy without the rule lets BOB in after the reload, and its activation is recorded."""
    before = sum(code(one) == "GK3002I" for one in served.audit_records())
    served.replace_policy(policy('observe = "2020-07-10T09:00:00-07:00", enforce = "2999-01-01T00:00:00Z"'))
    served.reload()
    served.wait_for_records(before + 1, lambda one: code(one) == "GK3002I")

    assert imap_login_reply(served.ports.imaps, context, BOB).startswith(b"OK")
    served.wait_for_record(lambda one: code(one) == "GK1006I")


def test_the_reload_command_is_the_same(served: GateProcess, context: ssl.SSLContext) -> None:
    """`gatekeeper reload` ends with 0 after a good reload and with 78 after a refused one."""
    served.replace_policy(policy('enforce = "2999-01-01T00:00:00Z"'))
    done = served.cli("reload")
    assert done.returncode == 0, done.stderr
    eventually(
        lambda: imap_login_reply(served.ports.imaps, context, BOB).startswith(b"OK"), within=15, what="the new policy"
    )


def test_reload_swaps_certificates_under_open_sessions(
    served: GateProcess, servers_ca: Authority, context: ssl.SSLContext
) -> None:
    """New handshakes show the new certificate, the old session lives on, and garbage leaves the certificate as it is."""
    session = imap_session(served.ports.imaps, context, ALICE)
    new = servers_ca.server_certificate("renewed")
    served.certificate.certificate.write_bytes(new.certificate.read_bytes())
    served.certificate.private_key.write_bytes(new.private_key.read_bytes())
    served.reload()
    expected = ssl.PEM_cert_to_DER_cert(
        new.certificate.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n"
    )

    def shown() -> bytes:
        with imap_greeted(served.ports.imaps, context) as wire:
            return wire.server_certificate()

    eventually(lambda: shown() == expected, within=15, what="the new certificate")
    assert session.imap(b"x NOOP")[-1].startswith(b"x OK")
    refused = sum(code(one) == "GK3031W" for one in served.audit_records())
    served.certificate.certificate.write_text("garbage")
    served.reload()
    served.wait_for_records(refused + 1, lambda one: code(one) == "GK3031W")
    assert shown() == expected
    session.close()


# The end


def test_sigterm_drains(served: GateProcess, context: ssl.SSLContext) -> None:
    """Readiness goes, nobody new gets in, open sessions are told and ended within the time, exit code 0."""
    imap = imap_session(served.ports.imaps, context, ALICE)
    smtp = smtp_session(served.ports.submissions, context, ALICE)
    greeted_imap = imap_greeted(served.ports.imaps, context)
    greeted_smtp = smtp_greeted(served.ports.submissions, context)
    since = time.monotonic()
    served.signal(signal.SIGTERM)

    assert b"* BYE" in imap.rest(within=5)
    assert smtp.rest(within=5).startswith(b"421 4.3.2")
    assert b"* BYE" in greeted_imap.rest(within=5)
    assert greeted_smtp.rest(within=5).startswith(b"421 4.3.2")
    assert served.wait(5) == 0
    assert time.monotonic() - since < 2 + 2, "drain_timeout is 2 s"
    for wire in (imap, smtp, greeted_imap, greeted_smtp):
        wire.close()
    with pytest.raises(OSError):
        imap_greeted(served.ports.imaps, context)
    assert code(served.audit_records()[-1]) == "GK9003I"


def test_a_start_after_a_stop_keeps_the_devices(served: GateProcess, context: ssl.SSLContext) -> None:
    """What was imported is still known after a restart."""
    assert served.stop() == 0
    served.start()

    assert imap_login_reply(served.ports.imaps, context, ALICE).startswith(b"OK")
    assert imap_login_reply(served.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")


# Bad files


@pytest.fixture
def unstarted(make_gate_anywhere: MakeGate, dovecot: Dovecot) -> GateProcess:
    """Return a gate with good files that was not started."""
    gate = make_gate_anywhere({"upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(25)}})
    assert isinstance(gate, GateProcess)
    return gate


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_good_files_pass(unstarted: GateProcess) -> None:
    """`config check` and `policy check` end with 0 on good files."""
    for noun in ("config", "policy"):
        done = unstarted.cli(noun, "check")
        assert done.returncode == 0, _said(done)


def test_config_check_tells_every_fault_at_once(unstarted: GateProcess) -> None:
    """Unknown key, wrong type, missing file, plaintext in the open, bad duration: all in one go, with file and key."""
    tables = toml.merged(
        unstarted.configuration,
        {
            "server": {"workers": "two", "drain_timeout": "30 parsecs", "colour": "blue"},
            "tls": {"private_key": "/proc/nonexistent/server.key"},
            "upstream": {"imap": {"address": "192.0.2.1:143", "tls": "off"}},
            "polcy": {"file": "x"},
        },
    )
    unstarted.write_configuration(tables)
    done = unstarted.cli("config", "check")

    assert done.returncode == 78
    said = _said(done)
    for key in (
        "server.workers",
        "server.drain_timeout",
        "server.colour",
        "tls.private_key",
        "upstream.imap",
        "polcy",
    ):
        lines = [line for line in said.splitlines() if key in line]
        assert lines, f"{key} not in:\n{said}"
        assert "gatekeeper.toml" in lines[0]
    assert "/proc/nonexistent/server.key" in said


def test_serve_with_a_bad_configuration_ends_with_78(unstarted: GateProcess) -> None:
    """`serve` says what is wrong and ends before it listens."""
    unstarted.write_configuration(toml.merged(unstarted.configuration, {"server": {"colour": "blue"}}))
    unstarted.start(ready=False)

    assert unstarted.wait(60) == 78
    assert "server.colour" in unstarted.log()


def test_text_that_is_not_toml_is_told_with_its_line(unstarted: GateProcess) -> None:
    """A syntax error is a fault like any other, without a traceback."""
    unstarted.configuration_file.write_text("[server]\nworkers = = 1\n")
    done = unstarted.cli("config", "check")

    assert done.returncode == 78
    assert "gatekeeper.toml" in _said(done)
    assert "line 2" in _said(done)
    assert "Traceback" not in _said(done)


def test_policy_check_tells_every_fault_at_once(unstarted: GateProcess) -> None:
    """A policy's faults come all at once, with file, key and reason, and exit code 1."""
    text = policy().replace('platform = "ios"', 'platform = "iso"').replace('"block"', '"blok"', 1)
    unstarted.policy_file.write_text(text.replace('id     = "no-tiktok"', 'id     = "no-tiktok"\ncolour = "blue"'))
    done = unstarted.cli("policy", "check")

    assert done.returncode == 1
    said = _said(done)
    for key in ("defaults.unknown_device", "rule[0].colour", "rule[0].apps[1].platform"):
        lines = [line for line in said.splitlines() if key in line]
        assert lines, f"{key} not in:\n{said}"
        assert "policy.toml" in lines[0]


# What a help desk asks


def test_device_commands_tell_why(served: GateProcess) -> None:
    """`device list`, `show` and `why` tell which device is blocked and by what, in words and as JSON."""
    listed = served.cli("device", "list")
    assert listed.returncode == 0, listed.stderr
    assert {"ph-alice", "ph-bob"} <= set(listed.stdout.split())
    shown = served.cli("device", "show", "ph-bob", "--json")
    assert shown.returncode == 0, shown.stderr
    assert BOB.login in json.dumps(json.loads(shown.stdout))
    why = served.cli("device", "why", BOB.login)
    assert why.returncode == 1, "1: would block"
    assert "no-tiktok" in why.stdout
    assert "TikTok" in why.stdout
    assert served.cli("device", "show", "ph-nobody").returncode != 0


def test_policy_explain_tells_why(served: GateProcess) -> None:
    """`policy explain` tells in words why BOB is blocked."""
    done = served.cli("policy", "explain", BOB.login)

    assert "no-tiktok" in done.stdout, _said(done)
    assert "block" in done.stdout.lower()


def test_doctor_finds_all_well_and_a_dead_upstream(served: GateProcess, unstarted: GateProcess) -> None:
    """`doctor` ends with 0 beside a healthy gate; a mail server that is down gets a line and another exit code."""
    well = served.cli("doctor", within=60)
    assert well.returncode == 0, _said(well)
    sick = unstarted.cli("doctor", within=60)
    assert sick.returncode != 0
    assert "smtp" in sick.stdout.lower()


def test_an_import_is_all_or_nothing(served: GateProcess, context: ssl.SSLContext, tmp_path: Path) -> None:
    """Bad lines are all told with number and reason and nothing is applied; the same file twice changes nothing."""
    good = device("ph-alice", ALICE.login, TIKTOK)
    bad = tmp_path / "bad.jsonl"
    bad.write_text(
        "\n".join([good, "not json", json.dumps({"device_id": "x"}), good.replace("android", "amiga")]) + "\n"
    )
    refused = served.cli("inventory", "import", str(bad))
    assert refused.returncode == 1, _said(refused)
    for number in ("2", "3", "4"):
        assert number in refused.stderr
    assert imap_login_reply(served.ports.imaps, context, ALICE).startswith(b"OK")

    file = tmp_path / "good.jsonl"
    file.write_text(good + "\n")
    for _ in range(2):
        done = served.cli("inventory", "import", str(file))
        assert done.returncode == 0, _said(done)
    older = tmp_path / "older.jsonl"
    older.write_text(device("ph-alice", ALICE.login, age=timedelta(hours=1)) + "\n")
    refused = served.cli("inventory", "import", str(older))
    assert refused.returncode == 1, _said(refused)
    assert smtp_login_reply(served.ports.submissions, context, ALICE).startswith(b"535 5.7.1")


def test_csv_is_read_as_well(served: GateProcess, context: ssl.SSLContext, tmp_path: Path) -> None:
    """A CSV with one app a line registers a device with its apps."""
    now = datetime.now(UTC).isoformat()  # noqa: TID251  the gate's clock is the real one
    file = tmp_path / "inventory.csv"
    file.write_text(
        "device_id,user,platform,collected_at,app_id,app_name,version\n"
        f"ph-alice,{ALICE.login},android,{now},com.example.notes,Notes,1.2\n"
        f"ph-alice,{ALICE.login},android,{now},com.zhiliaoapp.musically,TikTok,16.6.5\n"
    )
    done = served.cli("inventory", "import", str(file))
    assert done.returncode == 0, _said(done)

    assert b"TikTok" in imap_login_reply(served.ports.imaps, context, ALICE)
