"""Reading `gatekeeper.toml`: what is accepted, and every fault at once with file, key and reason."""

import runpy
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.config.load import MAX_OCTETS, load, state_directory
from gatekeeper.config.settings import Settings
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.request import MailProtocol
from gatekeeper.gate.identify import Method
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.tls import ClientCertificates
from testkit.tls import Authority
from testkit.toml import dumps, merged

REPOSITORY = Path(__file__).parents[3]

DOCUMENTED = """
[server]
state_directory = "var"
workers = 1
drain_timeout = "30s"

[tls]
certificate = "certs/server.pem"
private_key = "certs/server.key"
client_ca = "certs/device-ca.pem"
client_certificates = "request"

[[listener]]
name = "imaps"
protocol = "imap"
bind = "0.0.0.0:9993"
tls = "implicit"
proxy_protocol_from = []

[[listener]]
name = "submission"
protocol = "smtp"
bind = "0.0.0.0:9587"
tls = "starttls"

[upstream.imap]
address = "127.0.0.1:143"
tls = "off"
ca = ""
client_address = "id"

[upstream.smtp]
address = "127.0.0.1:587"
tls = "starttls"
client_address = "xclient"

[binding]
order = ["client_certificate", "device_credential", "oauth_token", "eas_device_id", "user"]

[policy]
file = "config/policy.toml"

[store]
url = "sqlite:///var/gatekeeper.sqlite3"

[audit]
directory = "var/audit"
origin = "gatekeeper.example/audit/1"
signing_key = "var/audit/signing.key"

[evidence]
audience = "gatekeeper.example"
[[evidence.issuer]]
name = "company-agents"
kind = "x5c"
ca = "certs/attestation-ca.pem"

[admin]
bind = "127.0.0.1:9080"
"""

PLAIN: dict[str, object] = {
    "listener": [{"name": "imap", "protocol": "imap", "bind": "127.0.0.1:0", "tls": "off"}],
    "upstream": {"imap": {"address": "127.0.0.1:143", "tls": "off"}},
}
"""The least there can be: loopback and no TLS."""

TLS: dict[str, object] = {
    "tls": {"certificate": "certs/server.pem", "private_key": "certs/server.key"},
    "listener": [{"name": "imaps", "protocol": "imap", "bind": "0.0.0.0:9993"}],
    "upstream": {"imap": {"address": "127.0.0.1:143", "tls": "off"}},
}

Read = Callable[..., Settings]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the example names, as the documented command makes them."""
    directory = tmp_path_factory.mktemp("certs")
    make = runpy.run_path(str(REPOSITORY / "certs" / "make_certs.py"))["main"]
    assert make(["--directory", str(directory)]) == 0
    return directory


@pytest.fixture
def here(tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with `certs/`: relative paths start from it."""
    shutil.copytree(certificates, tmp_path / "certs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read(here: Path) -> Read:
    """Load a document (text or tables, with changes) from `gatekeeper.toml` in an environment."""

    def read(
        document: str | dict[str, object],
        changes: dict[str, object] | None = None,
        environment: dict[str, str] | None = None,
    ) -> Settings:
        text = document if isinstance(document, str) else dumps(merged(document, changes or {}))
        Path("gatekeeper.toml").write_text(text)
        return load(Path("gatekeeper.toml"), environment or {})

    return read


@contextmanager
def refused(*expected: tuple[str, str]) -> Iterator[None]:
    """Expect exactly these faults of `gatekeeper.toml`, each by its key and a part of its reason."""
    with pytest.raises(DocumentError) as caught:
        yield
    faults = caught.value.faults
    assert sorted(fault.key for fault in faults) == sorted(key for key, _ in expected), faults
    for key, reason in expected:
        assert any(fault.key == key and reason in fault.reason for fault in faults), (key, reason, faults)
    assert {fault.source for fault in faults} <= {"gatekeeper.toml", "environment"}


def listener(**changes: object) -> dict[str, object]:
    """A plain IMAP listener with other keys."""
    return {"name": "imap", "protocol": "imap", "bind": "127.0.0.1:0", "tls": "off", **changes}


def test_the_documented_example_loads(read: Read) -> None:
    """Every documented key is read, relative paths start from the current directory."""
    settings = read(DOCUMENTED)
    imaps, submission = settings.listeners

    assert (imaps.name, imaps.protocol, imaps.host, imaps.port, imaps.tls) == (
        "imaps",
        MailProtocol.IMAP,
        "0.0.0.0",
        9993,
        TlsMode.IMPLICIT,
    )
    assert (submission.protocol, submission.tls, submission.allow_plaintext) == (
        MailProtocol.SMTP,
        TlsMode.STARTTLS,
        False,
    )
    assert settings.tls is not None
    assert settings.tls.client_certificates is ClientCertificates.REQUEST
    assert settings.tls.client_ca == Path("certs/device-ca.pem")
    assert settings.upstreams[MailProtocol.IMAP].client_address == "id"
    assert settings.upstreams[MailProtocol.IMAP].ca is None
    assert settings.upstreams[MailProtocol.SMTP].tls is TlsMode.STARTTLS
    assert settings.drain_timeout == timedelta(seconds=30)
    assert settings.evidence is not None
    assert [issuer.name for issuer in settings.evidence.issuers] == ["company-agents"]
    assert (settings.admin.host, settings.admin.port) == ("127.0.0.1", 9080)


def test_what_a_later_version_will_do_is_noted(read: Read) -> None:
    """Binding methods to come are accepted, have no effect, and are said to have none."""
    settings = read(DOCUMENTED)

    assert settings.binding.order == (Method.CLIENT_CERTIFICATE, Method.USER)
    assert [note.split(":")[0] for note in settings.notes] == ["binding.order"] * 3
    assert "`oauth_token` never answers" in settings.notes[1]


@pytest.mark.parametrize("name", ["gatekeeper.toml", "policy.toml"])
def test_the_shipped_files_load(name: str, here: Path) -> None:
    """What is shipped is right and raises no question."""
    path = REPOSITORY / "config" / name
    if name == "policy.toml":
        assert [rule.id for rule in parse_policy(path.read_bytes(), source=name).rules] == ["no-tiktok"]
    else:
        assert load(path, {}).notes == ()


def test_defaults(read: Read) -> None:
    """Whoever says little gets the documented values."""
    settings = read(PLAIN)

    assert settings.tls is None
    assert settings.evidence is None
    assert settings.state_directory == Path("var")
    assert settings.store_url == "sqlite:///var/gatekeeper.sqlite3"
    assert settings.idle_timeout == timedelta(hours=1)
    assert settings.limits.login_timeout_s == 60.0
    assert settings.listeners[0].allow_plaintext, "off says so"


def test_every_fault_is_told_at_once(read: Read) -> None:
    """Unknown keys, wrong types, missing files and what does not fit together, in one go."""
    changes = {
        "server": {"drain_timeout": 30, "state_dirctory": "var", "workers": 0},
        "tls": {"certificate": "certs/none.pem", "client_certificates": "request"},
        "listener": [{"name": "A b", "protocol": "imap", "bind": "9993"}, {"name": "x", "protocol": "smtp"}],
        "refusal": {"imap_code": "ALERTS"},
        "evidence": {"audience": "gatekeeper.example"},
        "servr": {},
    }
    with refused(
        ("server.drain_timeout", 'must be a duration such as "30s"'),
        ("server.state_dirctory", "unknown key (did you mean `state_directory`?)"),
        ("server.workers", "between 1 and 64"),
        ("tls.certificate", "`certs/none.pem` does not exist"),
        ("tls.client_ca", "is required with client_certificates = `request`"),
        ("listener[0].name", "a-z"),
        ("listener[0].bind", "`9993` is not an address and port"),
        ("listener[1].bind", "is required"),
        ("upstream.smtp", "a listener speaks smtp"),
        ("refusal.imap_code", "did you mean `ALERT`?"),
        ("evidence.issuer", "at least one"),
        ("servr", "unknown key (did you mean `server`?)"),
    ):
        read(TLS, changes)


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        pytest.param({"listener": None}, "listener", "at least one [[listener]]", id="no listener"),
        pytest.param({"listener": []}, "listener", "at least one [[listener]]", id="empty list of listeners"),
        pytest.param({"listener": [listener(bind="0.0.0.0:0")]}, "listener[0].tls", "loopback only", id="plaintext"),
        pytest.param(
            {"listener": [listener(), listener()]}, "listener[1].name", "names two listeners", id="one name twice"
        ),
        pytest.param(
            {"listener": [listener(bind="127.0.0.1:9"), listener(name="b", bind="127.0.0.1:9")]},
            "listener[1].bind",
            "bound twice",
            id="one port twice",
        ),
        pytest.param(
            {"listener": [listener(proxy_protocol_from=["10.0.0.0/8", "::/0"])]},
            "listener[0].proxy_protocol_from",
            "is everybody",
            id="PROXY headers of everybody",
        ),
        pytest.param(
            {"upstream": {"imap": {"address": "192.0.2.1:143"}}},
            "upstream.imap.tls",
            "in the clear",
            id="passwords in the clear",
        ),
        pytest.param(
            {"upstream": {"imap": {"ca": "certs/nobody.pem"}}}, "upstream.imap.ca", "does not exist", id="no such CA"
        ),
        pytest.param(
            {"upstream": {"imap": {"ca": "certs/server.key"}}},
            "upstream.imap.ca",
            "no usable CA certificate",
            id="a key is no CA",
        ),
        pytest.param(
            {"upstream": {"imap": {"client_address": "xclient"}}},
            "upstream.imap.client_address",
            "is not one of",
            id="XCLIENT is SMTP's",
        ),
        pytest.param({"upstream": {"imap": {"adress": "x"}}}, "upstream.imap.adress", "`address`", id="upstream typo"),
        pytest.param({"upstream": {"ldap": {}}}, "upstream.ldap", "unknown key", id="upstream of no protocol"),
        pytest.param({"binding": {"order": ["face"]}}, "binding.order", "`face` is not one of", id="binding method"),
        pytest.param({"limits": {"login_timeout": "0s"}}, "limits.login_timeout", "at least 1s", id="no time"),
        pytest.param({"server": {"idle_timeout": "10s"}}, "server.idle_timeout", "at least 60s", id="idle"),
        pytest.param({"admin": {"bind": "127.0.0.1:70000"}}, "admin.bind", "70000", id="no such port"),
        pytest.param({"tls": {"certificat": "x"}}, "tls.certificat", "unknown key", id="unknown key of an unused tls"),
        pytest.param({"store": {"url": True}}, "store.url", "must be a text", id="wrong type"),
        pytest.param({"store": "here"}, "store", "must be a table", id="text for a table"),
        pytest.param({"server": {"hostnam": ""}}, "server.hostnam", "`hostname`", id="typo"),
    ],
)
def test_a_fault_is_told_with_its_key(read: Read, changes: dict[str, object], key: str, reason: str) -> None:
    """One fault in an otherwise right document."""
    base = PLAIN if "tls" not in changes else {**TLS, **PLAIN}
    with refused((key, reason)):
        read(base, changes)


@pytest.mark.parametrize("name", ["nntp", "http"])
def test_a_protocol_that_is_not_spoken_is_refused(read: Read, name: str) -> None:
    """Also one that a later version will speak."""
    with pytest.raises(DocumentError, match=rf"listener\[0\].protocol: `{name}` is not"):
        read(PLAIN, {"listener": [listener(protocol=name)]})


def test_plaintext_off_loopback_can_be_allowed(read: Read) -> None:
    """Whoever asks for it by name gets it."""
    assert read(PLAIN, {"listener": [listener(bind="0.0.0.0:0", allow_plaintext=True)]}).listeners[0].allow_plaintext


@pytest.mark.parametrize("bind", ["[::1]:0", "localhost:0", "127.9.9.9:0"])
def test_loopback_by_any_name(read: Read, bind: str) -> None:
    """Plaintext needs no leave there."""
    assert read(PLAIN, {"listener": [listener(bind=bind)]}).listeners[0].tls is TlsMode.OFF


def test_ports_that_the_kernel_chooses_are_not_the_same(read: Read) -> None:
    """Port 0 may stand twice."""
    assert len(read(PLAIN, {"listener": [listener(), listener(name="b")]}).listeners) == 2


def test_a_key_of_another_certificate_is_refused(read: Read) -> None:
    """Found at start, not by the first phone."""
    with refused(("tls", "cannot be used together")):
        read(TLS, {"tls": {"private_key": "certs/device-ca.key"}})


def test_a_client_ca_that_is_none_is_refused(read: Read) -> None:
    """When phones are asked for certificates."""
    changes = {"tls": {"client_ca": "certs/server.key", "client_certificates": "require"}}
    with refused(("tls", "cannot be used together")):
        read(TLS, changes)


@pytest.mark.parametrize(
    ("issuer", "key", "reason"),
    [
        ({"kind": "kid"}, "evidence.issuer[0].kind", "not supported in this version"),
        ({"ca": "certs/nobody.pem"}, "evidence.issuer[0].ca", "cannot be read"),
        ({"ca": "certs/server.key"}, "evidence.issuer[0].ca", "cannot be used"),
        ({"eku_oid": "1.x"}, "evidence.issuer[0].ca", "cannot be used"),
        ({"max_age": "soon"}, "evidence.issuer[0].max_age", "`soon` is not a duration"),
        ({"trust": "all"}, "evidence.issuer[0].trust", "unknown key"),
    ],
)
def test_an_issuer_that_cannot_be_used_is_refused(read: Read, issuer: dict[str, object], key: str, reason: str) -> None:
    """Nobody is believed by accident."""
    right = {"name": "agents", "kind": "x5c", "ca": "certs/attestation-ca.pem"}
    with refused((key, reason)):
        read(PLAIN, {"evidence": {"audience": "gatekeeper.example", "issuer": [{**right, **issuer}]}})


def test_the_environment_beats_the_file(read: Read) -> None:
    """Values are TOML where they can be, else texts; missing tables come to be."""
    settings = read(
        PLAIN,
        {"server": {"hostname": "file.example"}},
        {
            "GATEKEEPER_SERVER__HOSTNAME": "environment.example",
            "GATEKEEPER_LIMITS__MAX_ATTEMPTS": "3",
            "GATEKEEPER_UPSTREAM__IMAP__ADDRESS": "127.0.0.1:1143",
            "GATEKEEPER_BINDING__ORDER": '["user"]',
            "GATEKEEPER_CONFIG": "elsewhere.toml",
            "GATEKEEPER_TRACEBACK": "1",
            "SERVER__HOSTNAME": "other.example",
        },
    )

    assert settings.hostname == "environment.example"
    assert settings.limits.max_attempts == 3
    assert settings.upstreams[MailProtocol.IMAP].addresses[0][1] == 1143
    assert settings.binding.order == (Method.USER,)


def test_faults_of_the_environment_are_told(read: Read) -> None:
    """An unknown key like one of the file, and a list by the variable's name."""
    environment = {"GATEKEEPER_SERVER__HOST": "x", "GATEKEEPER_LISTENER__NAME": "x"}
    with refused(("server.host", "unknown key"), ("GATEKEEPER_LISTENER__NAME", "`listener` is not a table")):
        read(PLAIN, None, environment)


def test_the_store_can_stand_in_a_file_of_its_own(read: Read) -> None:
    """`store.url_file` names it; a line end does not belong to it."""
    Path("url").write_text("sqlite:///elsewhere.sqlite3\n")

    assert read(PLAIN, {"store": {"url_file": "url"}}).store_url == "sqlite:///elsewhere.sqlite3"
    assert read(PLAIN, None, {"GATEKEEPER_STORE__URL_FILE": "url"}).store_url == "sqlite:///elsewhere.sqlite3"


def test_the_environment_beats_the_file_that_the_document_names(read: Read) -> None:
    """Environment over file, also where the file is a secret's own."""
    Path("url").write_text("sqlite:///elsewhere.sqlite3\n")
    environment = {"GATEKEEPER_STORE__URL": "sqlite:///mine.sqlite3"}

    assert read(PLAIN, {"store": {"url_file": "url"}}, environment).store_url == "sqlite:///mine.sqlite3"


def test_a_missing_file_of_the_store_is_told(read: Read) -> None:
    """By its own key."""
    with refused(("store.url_file", "`none` cannot be read")):
        read(PLAIN, {"store": {"url_file": "none"}})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[server\n", "is not TOML"),
        (b"a = 1\na = 2\n", "is not TOML"),
        (b"a = '\xff'\n", "is not UTF-8"),
        (b"#" * (MAX_OCTETS + 1), "larger than"),
    ],
)
def test_what_is_no_document_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    """With the file's name as given."""
    path = tmp_path / "gatekeeper.toml"
    path.write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        load(path, {})
    assert [fault.source for fault in caught.value.faults] == [str(path)]
    assert reason in str(caught.value)


def test_a_file_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    """How to name another."""
    with pytest.raises(DocumentError, match=r"No such file or directory \(name another with --config"):
        load(tmp_path / "gatekeeper.toml", {})


@pytest.mark.parametrize(
    ("content", "environment", "expected"),
    [
        ('[server]\nstate_directory = "run"\nnonsense = 3\n', {}, "run"),
        ('[server]\nstate_directory = "run"\n', {"GATEKEEPER_SERVER__STATE_DIRECTORY": "mine"}, "mine"),
        ("[server\n", {}, "var"),
        ("[server\n", {"GATEKEEPER_SERVER__STATE_DIRECTORY": "mine"}, "mine"),
        ("server = 3\n", {}, "var"),
        ("[server]\nstate_directory = 3\n", {}, "var"),
    ],
)
def test_the_state_directory_is_found_in_a_broken_configuration(
    tmp_path: Path, content: str, environment: dict[str, str], expected: str
) -> None:
    """A running gate can be asked whatever became of its configuration."""
    path = tmp_path / "gatekeeper.toml"
    path.write_text(content)

    assert state_directory(path, environment) == Path(expected)


def test_an_encrypted_key_is_refused(read: Read, here: Path) -> None:
    """A server cannot ask for a passphrase."""
    from cryptography.hazmat.primitives import serialization

    pair = Authority(here).server_certificate("x")
    key = serialization.load_pem_private_key(pair.private_key.read_bytes(), None)
    pair.private_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with refused(("tls", "encrypted")):
        read(TLS, {"tls": {"certificate": pair.certificate, "private_key": pair.private_key}})
