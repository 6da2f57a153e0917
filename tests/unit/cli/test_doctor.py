"""The command `doctor`: each test's result with what to do, on mail servers that are scripted."""

import asyncio
import json
import shutil
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.cli import doctor as module
from gatekeeper.cli.demo.phone_agent import CertificateAuthority, CertificateTerms
from gatekeeper.cli.main import cli
from gatekeeper.server.clock import SystemClock
from testkit.ports import free_port
from testkit.tls import Authority
from testkit.toml import dumps, merged


class MailServer(socketserver.ThreadingTCPServer):
    """Says what a mail server says before log-in."""

    allow_reuse_address = True
    daemon_threads = False

    def __init__(self, greeting: str, replies: Callable[[str], Sequence[str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.greeting = greeting
        self.replies = replies
        self.said: list[str] = []

    @property
    def address(self) -> str:
        """As `upstream.*.address` wants it."""
        return f"127.0.0.1:{self.server_address[1]}"


class _Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say([self.server.greeting])
        try:
            for line in self.rfile:
                command = line.decode().rstrip()
                self.server.said.append(command)
                self._say(self.server.replies(command))
        except ConnectionError:
            pass  # the doctor has heard enough

    def _say(self, lines: Sequence[str]) -> None:
        self.wfile.write("".join(line + "\r\n" for line in lines).encode())


@contextmanager
def serving(server: MailServer) -> Iterator[MailServer]:
    """Serve until the test is over."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def imap(*capabilities: str) -> MailServer:
    """A server that offers these."""

    def replies(command: str) -> list[str]:
        tag, verb, *_ = command.split()
        if verb == "CAPABILITY":
            return [f"* CAPABILITY IMAP4rev1 {' '.join(capabilities)}".rstrip(), f"{tag} OK done"]
        return [f"{tag} BAD not scripted"]

    return MailServer("* OK ready", replies)


def smtp(*keywords: str) -> MailServer:
    """A server that offers these."""

    def replies(command: str) -> list[str]:
        if command.startswith("EHLO"):
            lines = ["mail.example", *keywords]
            return [*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]
        return ["502 not scripted"]

    return MailServer("220 mail.example ESMTP", replies)


def pop3(*capabilities: str) -> MailServer:
    """A server that offers these."""

    def replies(command: str) -> list[str]:
        return ["+OK", *capabilities, "."] if command == "CAPA" else ["-ERR not scripted"]

    return MailServer("+OK ready", replies)


class Bench:
    """A configuration with a right policy; `run` lays changes over it."""

    def __init__(self, servers: ExitStack) -> None:
        self._servers = servers
        Path("policy.toml").write_text('schema = 1\n[defaults]\nunknown_device = "block"\n')
        self.configuration: dict[str, object] = {
            "policy": {"file": "policy.toml"},
            "listener": [{"name": "imap", "protocol": "imap", "bind": "127.0.0.1:0", "tls": "off"}],
            "admin": {"bind": "127.0.0.1:0"},
        }

    def serve(self, protocol: str, server: MailServer, **upstream: str) -> MailServer:
        """Put a mail server behind the gate."""
        self._servers.enter_context(serving(server))
        self.change(upstream={protocol: {"address": server.address, "tls": "off", **upstream}})
        return server

    def change(self, **changes: object) -> None:
        """Lay changes over the configuration."""
        self.configuration = merged(self.configuration, changes)

    def run(self, *arguments: str) -> Result:
        """Run the doctor."""
        Path("gatekeeper.toml").write_text(dumps(self.configuration))
        return CliRunner().invoke(cli, ["--config", "gatekeeper.toml", "doctor", *arguments])

    def findings(self, *, exits: int) -> dict[str, list[dict[str, str]]]:
        """What it found, by test."""
        result = self.run("--json")
        assert result.exit_code == exits, result.output
        found: dict[str, list[dict[str, str]]] = {}
        for finding in json.loads(result.stdout):
            found.setdefault(finding["test"], []).append(finding)
        return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its schema, made once."""
    path = tmp_path_factory.mktemp("store") / "gatekeeper.sqlite3"

    async def make() -> None:
        async with open_store(f"sqlite:///{path}"):
            pass

    asyncio.run(make())
    return path


@pytest.fixture
def bench(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A gate that nothing is wrong with."""
    monkeypatch.chdir(tmp_path)
    Path("var").mkdir()
    shutil.copy(store, "var")
    monkeypatch.setattr(module, "_SYNCS", 3)
    monkeypatch.setattr(module, "_SLOW_SYNC_S", 60.0)  # this machine's disk is not what is tested
    with ExitStack() as servers:
        bench = Bench(servers)
        bench.serve("imap", imap("AUTH=PLAIN", "ID"))
        yield bench


def test_all_is_well(bench: Bench) -> None:
    """A line for each test, no advice, and exit code 0."""
    result = bench.run()

    assert result.exit_code == 0, result.output
    assert [(line[:5].strip(), line[6:30].strip()) for line in result.stdout.splitlines()] == [
        ("ok", "port imap"),
        ("ok", "port admin"),
        ("warn", "certificate"),
        ("ok", "policy"),
        ("ok", "audit disk"),
        ("ok", "store"),
        ("ok", "mail server imap"),
        ("ok", "mail server imap"),
    ]
    assert "takes PLAIN" in result.stdout


def test_no_credentials_are_sent(bench: Bench) -> None:
    """It only asks what there is."""
    server = bench.serve("imap", imap("AUTH=PLAIN"))
    bench.run()

    assert server.said
    assert not any(word in " ".join(server.said).upper() for word in ("LOGIN ", "AUTHENTICATE"))


def test_a_dead_mail_server_is_69(bench: Bench) -> None:
    """When nothing else is wrong."""
    address = f"127.0.0.1:{free_port()}"
    bench.change(upstream={"imap": {"address": address}})
    (finding,) = bench.findings(exits=69)["mail server imap"]

    assert finding["state"] == "fail"
    assert address in finding["found"]
    assert finding["advice"] == "is it running, and do `address`, `tls` and `ca` fit it?"


def test_every_address_of_a_mail_server_is_tested(bench: Bench) -> None:
    """A spare one that is dead would be noticed only when it is needed."""
    dead = f"127.0.0.1:{free_port()}"
    alive = bench.serve("imap", imap("AUTH=PLAIN")).address
    bench.change(upstream={"imap": {"address": [alive, dead]}})
    findings = bench.findings(exits=69)["mail server imap"]

    assert [(one["state"], one["found"].partition(": ")[0]) for one in findings] == [
        ("ok", alive),
        ("ok", alive),
        ("fail", dead),
    ]


def test_something_else_beside_it_is_1(bench: Bench) -> None:
    """Then the mail server is not the only trouble."""
    address = f"127.0.0.1:{free_port()}"
    Path("policy.toml").write_text("schema = 9\n")
    bench.change(upstream={"imap": {"address": address}})
    (finding,) = bench.findings(exits=1)["policy"]

    assert finding["found"].startswith("1 faults, first: policy.toml: schema: ")
    assert finding["advice"] == "see `gatekeeper policy check`"


def test_a_name_that_does_not_resolve_is_told(bench: Bench) -> None:
    """Without asking further."""
    bench.change(upstream={"imap": {"address": "nobody.invalid:993", "tls": "implicit"}})
    (finding,) = bench.findings(exits=69)["mail server"]

    assert finding["advice"] == "check `upstream.*.address` and `ca`"


def test_a_spare_name_that_does_not_resolve_is_told(bench: Bench) -> None:
    """The gate would run, on the other address alone."""
    alive = bench.serve("imap", imap("AUTH=PLAIN")).address
    name = f"localhost:{alive.rpartition(':')[2]}"
    bench.change(upstream={"imap": {"address": [name, "nobody.invalid:143"], "tls": "starttls"}})
    first = bench.findings(exits=69)["mail server imap"][0]

    assert first["found"].startswith("`nobody.invalid` cannot be resolved")


def test_a_port_in_use_is_told(bench: Bench) -> None:
    """Unless it is the running gate's own; a control socket that nobody listens on belongs to one that was killed."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        bench.change(listener=[{"name": "imap", "protocol": "imap", "bind": bind, "tls": "off"}])
        (taken,) = bench.findings(exits=1)["port imap"]
        with socket.socket(socket.AF_UNIX) as control:
            control.bind("var/control.sock")
            (stale,) = bench.findings(exits=1)["port imap"]
            control.listen()
            (own,) = bench.findings(exits=0)["port imap"]

    assert (taken["state"], taken["found"]) == ("fail", f"{bind}: Address already in use")
    assert "stop what listens there" in taken["advice"]
    assert stale == taken
    assert "presumably by the running gate" in own["found"]


def test_an_admin_port_in_use_is_told(bench: Bench) -> None:
    """Without it `serve` does not start either."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        bench.change(admin={"bind": bind})
        (taken,) = bench.findings(exits=1)["port admin"]
    assert (taken["state"], taken["found"]) == ("fail", f"{bind}: Address already in use")


@pytest.mark.parametrize(
    ("left", "state", "advice"),
    [
        (timedelta(days=-1), "fail", "renew it, then `gatekeeper reload`"),
        (timedelta(days=20), "warn", "renew it soon, then `gatekeeper reload`"),
        (timedelta(days=30), "ok", ""),
    ],
)
def test_the_certificate_s_end_is_seen_coming(bench: Bench, left: timedelta, state: str, advice: str) -> None:
    """An expired one is a fault, one that will soon be is a warning."""
    now = SystemClock().now()
    ca = CertificateAuthority.create("ca", now=now - timedelta(days=90))
    terms = CertificateTerms(common_name="mail", not_before=now - timedelta(days=60), not_after=now + left)
    identity = ca.issue(terms)
    Path("server.pem").write_bytes(identity.chain_pem())
    Path("server.key").write_bytes(identity.private_key_pem())
    bench.change(
        tls={"certificate": "server.pem", "private_key": "server.key"},
        listener=[{"name": "imap", "protocol": "imap", "bind": "127.0.0.1:0"}],
    )
    (finding,) = bench.findings(exits=1 if state == "fail" else 0)["certificate"]

    assert (finding["state"], finding["advice"]) == (state, advice)
    assert finding["found"].startswith("server.pem: ")


@pytest.mark.parametrize(
    ("left", "state", "words"),
    [
        (timedelta(hours=-1), "fail", "expired, every client certificate is refused"),
        (timedelta(hours=20), "warn", "valid until "),
        (timedelta(days=3), "ok", "valid until "),
    ],
)
def test_the_end_of_a_list_of_revoked_certificates_is_seen_coming(
    bench: Bench, tmp_path: Path, left: timedelta, state: str, words: str
) -> None:
    """With an expired one nobody's certificate counts."""
    ca = Authority(tmp_path)
    pair, named = ca.server_certificate("x"), ca.server_certificate("y")
    crl = ca.revocation_list(valid_for=left)
    bench.serve("imap", imap("AUTH=PLAIN"))
    bench.change(
        tls={
            "certificate": pair.certificate,
            "private_key": pair.private_key,
            "client_ca": ca.ca_file,
            "client_crl": crl,
            "certificate_for": [
                {"names": ["y.example"], "certificate": named.certificate, "private_key": named.private_key}
            ],
        },
        listener=[{"name": "imap", "protocol": "imap", "bind": "127.0.0.1:0"}],
    )
    findings = bench.findings(exits=1 if state == "fail" else 0)
    (finding,) = findings["client_crl"]

    assert (finding["state"], finding["found"].startswith(f"{crl}: {words}")) == (state, True)
    assert [one["state"] for one in findings["certificate y.example"]] == ["ok"]
    result = CliRunner().invoke(cli, ["--config", "gatekeeper.toml", "config", "check"])
    assert result.exit_code == 0
    assert ("note: tls.client_crl: expired" in result.stderr) == (state == "fail")


def test_a_client_ca_that_holds_no_certificate_is_told(bench: Bench, tmp_path: Path) -> None:
    """It may stand in the configuration as long as phones are not asked for certificates."""
    pair = Authority(tmp_path).server_certificate("x")
    Path("empty.pem").write_text("nothing\n")
    bench.change(
        tls={"certificate": pair.certificate, "private_key": pair.private_key, "client_ca": "empty.pem"},
        listener=[{"name": "imap", "protocol": "imap", "bind": "127.0.0.1:0"}],
    )
    (finding,) = bench.findings(exits=1)["client_ca"]

    assert (finding["found"], finding["advice"]) == ("empty.pem: holds no certificate", "it must be PEM")


def test_an_audit_directory_that_cannot_be_made_is_told(bench: Bench) -> None:
    """Without it nobody is let in."""
    Path("file").touch()
    bench.change(audit={"directory": "file/audit"})
    (finding,) = bench.findings(exits=1)["audit disk"]

    assert finding["found"].startswith("file/audit: ")
    assert "writable audit directory" in finding["advice"]


def test_a_slow_disk_is_a_warning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every log-in waits for it."""
    monkeypatch.setattr(module, "_SLOW_SYNC_S", 0.0)
    (finding,) = bench.findings(exits=0)["audit disk"]

    assert (finding["state"], finding["advice"]) == ("warn", "every log-in waits for one: use a faster disk")


def test_a_store_that_cannot_be_opened_is_told(bench: Bench) -> None:
    """With where to look."""
    Path("store").mkdir()
    bench.change(store={"url": "sqlite:///store"})
    (finding,) = bench.findings(exits=1)["store"]

    assert finding["advice"] == "check `store.url` and who may write there"


def test_what_has_no_effect_is_a_warning(bench: Bench) -> None:
    """As at every start."""
    bench.change(binding={"order": ["oauth_token", "user"]})
    (finding,) = bench.findings(exits=0)["configuration"]

    assert finding["state"] == "warn"
    assert "`oauth_token` never answers" in finding["found"]


@pytest.mark.parametrize(
    ("offers", "found", "advice"),
    [
        (["LOGINDISABLED"], "offers no log-in", "enable PLAIN, or TLS towards it"),
    ],
)
def test_an_imap_server_that_cannot_be_used_is_told(bench: Bench, offers: list[str], found: str, advice: str) -> None:
    """With what to change there."""
    bench.serve("imap", imap(*offers))
    failed = [one for one in bench.findings(exits=69)["mail server imap"] if one["state"] == "fail"]

    assert len(failed) == 1
    assert found in failed[0]["found"]
    assert advice in failed[0]["advice"]


def test_imap_without_mechanisms_takes_login(bench: Bench) -> None:
    """As the standard has it, unless it says LOGINDISABLED."""
    bench.serve("imap", imap())

    assert "takes LOGIN" in bench.findings(exits=0)["mail server imap"][0]["found"]


@pytest.mark.parametrize(
    ("offers", "upstream", "found", "advice"),
    [
        (["8BITMIME"], {}, "offers no log-in", "enable PLAIN"),
        (["AUTH PLAIN", "STARTTLS"], {}, "offers STARTTLS, which is not used", 'set tls = "starttls"'),
        (
            ["AUTH PLAIN", "XCLIENT NAME ADDR"],
            {},
            "offers XCLIENT, which is not used",
            'set client_address = "xclient"',
        ),
        (["AUTH PLAIN", "XCLIENT NAME ADDR"], {"client_address": "xclient"}, None, None),
        (["AUTH PLAIN LOGIN"], {}, None, None),
    ],
)
def test_what_an_smtp_server_offers_is_judged(
    bench: Bench, offers: list[str], upstream: dict[str, str], found: str | None, advice: str | None
) -> None:
    """What would let a phone become somebody else, unseen, is a fault."""
    bench.serve("smtp", smtp(*offers), **upstream)
    findings = bench.findings(exits=69 if found else 0)["mail server smtp"]
    failed = [one for one in findings if one["state"] == "fail"]

    assert len(failed) == (1 if found else 0)
    if found is not None and advice is not None:
        assert failed[0]["found"].endswith(found)
        assert advice in failed[0]["advice"]


@pytest.mark.parametrize(
    ("offers", "found", "exits"),
    [
        (["USER", "TOP"], "takes USER", 0),
        (["USER", "SASL PLAIN LOGIN", "STLS"], "takes LOGIN, PLAIN", 0),
        (["TOP"], "offers no log-in", 69),
    ],
)
def test_what_a_pop3_server_offers_is_judged(bench: Bench, offers: list[str], found: str, exits: int) -> None:
    """USER is a way to log in; STLS, which no server takes after the log-in, leads nobody around the gate."""
    bench.serve("pop3", pop3(*offers))

    assert bench.findings(exits=exits)["mail server pop3"][0]["found"].endswith(found)


def test_a_server_that_speaks_something_else_is_told(bench: Bench) -> None:
    """An SMTP server where IMAP was expected."""
    bench.serve("imap", smtp("AUTH PLAIN"))
    (finding,) = bench.findings(exits=69)["mail server imap"]

    assert finding["state"] == "fail"


def test_a_broken_configuration_is_78() -> None:
    """Before anything is tested."""
    assert CliRunner().invoke(cli, ["--config", "/nowhere/gatekeeper.toml", "doctor"]).exit_code == 78
