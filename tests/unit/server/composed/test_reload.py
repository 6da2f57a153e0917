"""Reload: everything is checked first, then swapped; on any fault the old stays as it is."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.front import Front
from gatekeeper.gate.admit import Admitted, Answer, Claim
from gatekeeper.gate.sessions import Admission
from gatekeeper.server import compose, group_watch
from gatekeeper.server.reload import Reloaded, reload
from testkit.audit_log import connection
from testkit.reports import ALICE, NOTES, TIKTOK, phone, report

from .conftest import House

OPEN = 'schema = 1\n[defaults]\nunknown_device = "allow"\nevidence_max_age = "3650d"\n'
DENY = (
    OPEN
    + """
[[rule]]
id = "no-tiktok"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
phases = { enforce = "2020-01-01" }
"""
)
THIRD = {"name": "third", "protocol": "imap", "bind": "127.0.0.1:0", "tls": "starttls"}


def _listeners(house: House) -> list[dict[str, object]]:
    found = house.configuration.document["listener"]
    assert isinstance(found, list)
    return found


async def _reloaded(house: House, changes: dict[str, object] | None = None) -> Reloaded:
    house.configuration.write(changes)
    outcome = await reload(house.gatekeeper)
    assert outcome.reloaded, outcome.faults
    return outcome


async def _greeting(port: int) -> bytes:
    def read() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            return sock.recv(1000)

    return await asyncio.to_thread(read)


async def _certificate(house: House, front: Front) -> bytes:
    context = house.configuration.authority.client_context()

    def read() -> bytes:
        with (
            socket.create_connection(("127.0.0.1", front.port), timeout=10) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as tls,
        ):
            der = tls.getpeercert(binary_form=True)
            assert der is not None
            return der

    return await asyncio.to_thread(read)


async def _open_session(house: House) -> tuple[Admission, asyncio.Event]:
    """Admit alice; the event is set when her session is cut."""
    gatekeeper = house.gatekeeper
    answers: asyncio.Queue[Answer] = asyncio.Queue()
    claim = Claim(connection=connection(), account=ALICE, mechanism="PLAIN", certificate=None)
    gatekeeper.gate.admit(claim, answers.put_nowait)
    answer = await answers.get()
    assert isinstance(answer, Admitted)
    is_cut = asyncio.Event()
    answer.admission.cut = is_cut.set
    return answer.admission, is_cut


async def test_nothing_changed_is_a_reload_too(house: House) -> None:
    """Listeners and fronts stay the same objects; it is recorded."""
    before = dict(house.gatekeeper.listeners)
    fronts = dict(house.gatekeeper.fronts)
    assert await _reloaded(house) == Reloaded(reloaded=True)

    assert house.gatekeeper.listeners == before
    assert house.gatekeeper.fronts == fronts
    assert len(await house.records("GK3030I")) == 1
    assert b'outcome="done"} 1.0' in house.gatekeeper.metrics.text()


async def test_a_new_policy_decides_about_open_sessions(house: House) -> None:
    """The session of a phone with a denied app is cut; the policy in force is recorded."""
    await _reloaded(house)
    house.configuration.policy_path.write_text(OPEN)
    await _reloaded(house)
    now = house.gatekeeper.clock.now()
    await house.gatekeeper.registry.apply([report(phone("ph-1", ALICE), NOTES, TIKTOK, at=now)], now=now)
    await house.gatekeeper.directory.refresh()
    admission, is_cut = await _open_session(house)
    house.configuration.policy_path.write_text(DENY)
    await _reloaded(house)
    async with asyncio.timeout(30):
        await is_cut.wait()

    assert admission.decision.verdict is Verdict.BLOCK
    policies = [record["unmapped"]["gatekeeper"]["policy_sha256"] for record in await house.records("GK3002I")]  # type: ignore[index]
    assert policies[-1] == house.gatekeeper.gate.policy.sha256
    assert len(set(policies)) == len(policies) == 3


async def test_exemptions_are_on_record(house: House) -> None:
    """With the policy that has them: from which rule, until when, who agreed."""
    named = 'id = "{}"\nrule = "no-tiktok"\nusers = ["x@example.com"]\nexpires = "2999-12-30"\nreason = "Press"\n'
    some = [f'[[exemption]]\n{named.format(f"ex-{number}")}approved_by = ["ciso", "cto"]\n' for number in range(30)]
    house.configuration.policy_path.write_text(DENY + "".join(some))
    await _reloaded(house)
    told = (await house.records("GK3002I"))[-1]["unmapped"]["gatekeeper"]  # type: ignore[index]
    assert told["exemption.ex-0"] == "no-tiktok until 2999-12-31T00:00:00+00:00, approved by ciso cto"
    assert (told["exemptions_n"], sum(name.startswith("exemption.") for name in told)) == (30, 24)


@pytest.mark.parametrize("what", ["configuration", "policy", "both", "certificate", "bind"])
async def test_on_any_fault_everything_stays(house: House, what: str) -> None:
    """All faults are told and recorded; what was bound for the new configuration is let go."""
    gatekeeper = house.gatekeeper
    before = (
        gatekeeper.settings,
        gatekeeper.gate.policy,
        gatekeeper.fronts["imaps"].context,
        dict(gatekeeper.listeners),
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        house.configuration.policy_path.write_text(OPEN)
        if what in ("configuration", "both"):
            house.configuration.write({"server": {"colour": "red"}})
        if what in ("policy", "both"):
            house.configuration.policy_path.write_text("schema = 1\n[[rule]]\n")
        if what == "certificate":
            house.configuration.server.private_key.write_text("no key")
        if what == "bind":
            port = taken.getsockname()[1]
            more = [THIRD, {**THIRD, "name": "fourth", "bind": f"127.0.0.1:{port}"}]
            house.configuration.write({"listener": [*_listeners(house), *more]})
        outcome = await reload(gatekeeper)

    assert not outcome.reloaded
    assert len(outcome.faults) >= (2 if what == "both" else 1)
    after = (
        gatekeeper.settings,
        gatekeeper.gate.policy,
        gatekeeper.fronts["imaps"].context,
        dict(gatekeeper.listeners),
    )
    assert after == before
    assert set(gatekeeper.fronts) == {"imaps", "submission"}
    (record,) = await house.records("GK3031W")
    assert record["unmapped"]["gatekeeper"]["faults_n"] == len(outcome.faults)  # type: ignore[index]
    assert b'outcome="rejected"} 1.0' in gatekeeper.metrics.text()


async def test_a_new_certificate_is_shown_to_new_connections(house: House) -> None:
    """On the same socket."""
    front = house.gatekeeper.fronts["imaps"]
    port = front.port
    before = await _certificate(house, front)
    new = house.configuration.authority.server_certificate("renewed")
    await _reloaded(house, {"tls": {"certificate": str(new.certificate), "private_key": str(new.private_key)}})

    assert house.gatekeeper.fronts["imaps"].port == port
    after = await _certificate(house, front)
    assert after != before
    assert ssl.DER_cert_to_PEM_cert(after) in new.certificate.read_text()


async def test_unchanged_files_keep_the_tls_context(house: House) -> None:
    """Listeners of a protocol share it, so that a phone's session ticket is good on each, also after a reload."""
    fronts = house.gatekeeper.fronts
    before = fronts["imaps"].context
    await _reloaded(house, {"listener": [*_listeners(house), THIRD]})
    assert fronts["imaps"].context is before
    assert fronts["third"].context is before
    assert fronts["submission"].context is not before
    revoked = house.configuration.devices.revocation_list()
    await _reloaded(house, {"tls": {"client_crl": str(revoked)}})
    assert fronts["imaps"].context is fronts["third"].context is not before
    assert fronts["imaps"].revocations_until is not None


async def test_listeners_come_and_go(house: House) -> None:
    """A new one greets, a removed one refuses; the others are not touched."""
    gatekeeper = house.gatekeeper
    await _reloaded(house, {"listener": [*_listeners(house), THIRD]})
    third = gatekeeper.listeners["third"].port
    assert (await _greeting(third)).startswith(b"* OK")
    assert gatekeeper.fronts["third"].protocol is MailProtocol.IMAP
    submission = gatekeeper.listeners["submission"]
    await _reloaded(house, {"listener": _listeners(house)[1:2]})

    assert set(gatekeeper.listeners) == set(gatekeeper.fronts) == {"submission"}
    assert gatekeeper.listeners["submission"] is submission
    with pytest.raises(ConnectionRefusedError):
        await _greeting(third)


async def test_who_waits_at_a_removed_listener_is_told_goodbye(house: House) -> None:
    """Nobody would watch over its deadline any more."""
    submission = house.gatekeeper.fronts["submission"]
    with socket.create_connection(("127.0.0.1", submission.port), timeout=10) as sock:
        assert (await asyncio.to_thread(sock.recv, 1000)).startswith(b"220")
        await _reloaded(house, {"listener": _listeners(house)[:1]})
        assert (await asyncio.to_thread(sock.recv, 1000)).startswith(b"421")
        assert await asyncio.to_thread(sock.recv, 1000) == b""
    assert len(submission.waiting) == 0


async def test_load_balancers_can_change_while_the_port_stays_open(house: House) -> None:
    """Whose PROXY header is believed is asked anew for each connection."""
    listeners = _listeners(house)
    front = house.gatekeeper.fronts["imaps"]
    port = front.port
    for networks in (["127.0.0.0/8"], []):
        await _reloaded(house, {"listener": [{**listeners[0], "proxy_protocol_from": networks}, *listeners[1:]]})
        assert house.gatekeeper.fronts["imaps"] is front
        assert front.port == port
        assert [str(network) for network in front.load_balancers] == networks


async def test_what_needs_a_restart_is_said(house: House) -> None:
    """It is accepted, and takes effect at the next start."""
    outcome = await _reloaded(house, {"admin": {"bind": "127.0.0.1:1"}, "audit": {"origin": "other.example/1"}})
    assert outcome.notes == (
        "audit changed: takes effect at the next start",
        "admin changed: takes effect at the next start",
    )


async def test_a_draining_process_does_not_reload(house: House) -> None:
    """It would open its listeners again."""
    house.gatekeeper.draining = True
    outcome = await reload(house.gatekeeper)
    assert outcome == Reloaded(reloaded=False, faults=("shutting down",))


async def test_names_are_resolved_beside_the_loop(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow name server must not stop every session."""
    threads: list[bool] = []
    resolve = compose.upstreams

    def seen(settings: object) -> object:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            threads.append(True)
        else:
            threads.append(False)
        return resolve(settings)  # type: ignore[arg-type]

    monkeypatch.setattr(compose, "upstreams", seen)
    await _reloaded(house)
    assert threads == [True]


async def test_names_and_service_accounts_are_taken_over(house: House, tmp_path: Path) -> None:
    """Listeners, evidence and policy get the same canonical form, from the next log-in on."""
    gatekeeper = house.gatekeeper
    (tmp_path / "service").write_text("hush\n")
    assert all(front.service is None for front in gatekeeper.fronts.values())
    service = {"service_user": "gate", "service_password_file": str(tmp_path / "service")}
    await _reloaded(
        house,
        {
            "identity": {"default_domain": "example.com"},
            "delegation": [{"authcid": "helper", "authzid": "*", "reason": "helps"}],
            "upstream": {"imap": service},
        },
    )

    assert gatekeeper.evidence.names.default_domain == "example.com"
    for front in gatekeeper.fronts.values():
        assert front.accounts.names.default_domain == "example.com"
        assert front.accounts.delegations[0].authzid == "*@example.com"
        assert (front.service is not None) is (front.protocol is MailProtocol.IMAP)


GROUPED = (
    OPEN
    + """
[groups]
sales = { directory = "CN=Sales" }
[[rule]]
id = "no-tiktok"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
scope = { not_groups = ["sales"] }
phases = { enforce = "2020-01-01" }
"""
)


async def test_members_of_the_directory_s_groups_come_and_go(house: House, tmp_path: Path) -> None:
    """A member who leaves the group is under the rule at once; a broken file changes nothing, and refuses a reload."""
    gatekeeper = house.gatekeeper
    await gatekeeper.registry.apply([report(phone(), NOTES, TIKTOK)], now=gatekeeper.clock.now())
    await gatekeeper.directory.refresh()
    groups = tmp_path / "groups.csv"
    groups.write_text(f"group,user\nCN=Sales,{ALICE}\n")
    house.configuration.policy_path.write_text(GROUPED)
    await _reloaded(house, {"groups": {"file": str(groups)}})
    _, is_cut = await _open_session(house)

    groups.write_text("group,user\nCN=Sales\n")
    await group_watch.step(gatekeeper)
    assert not is_cut.is_set(), "who was known stays known"
    refused = await reload(gatekeeper)
    assert not refused.reloaded
    assert "line 2: must have a group and a user" in refused.faults[0]
    assert not is_cut.is_set()

    groups.write_text("group,user\nCN=Sales,bob@example.com\n")
    await group_watch.step(gatekeeper)
    async with asyncio.timeout(30):
        await is_cut.wait()


async def test_without_a_directory_the_rule_is_for_everybody(house: House) -> None:
    """Who is in the group is not known: nobody is excepted."""
    gatekeeper = house.gatekeeper
    await gatekeeper.registry.apply([report(phone(), NOTES)], now=gatekeeper.clock.now())
    await gatekeeper.directory.refresh()
    house.configuration.policy_path.write_text(GROUPED)
    await _reloaded(house)
    _, is_cut = await _open_session(house)
    await gatekeeper.registry.apply(
        [report(phone(), NOTES, TIKTOK, at=gatekeeper.clock.now())], now=gatekeeper.clock.now()
    )
    await gatekeeper.directory.refresh()
    async with asyncio.timeout(30):
        await is_cut.wait()
