"""Where audit records and signed heads are sent, as configured, and each fault of it."""

from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.shipping.quorum import Required
from gatekeeper.adapters.sinks.shipping.settings import (
    DEFAULT_SD_ID,
    FilePlace,
    HeadSettings,
    HttpPeer,
    RemoteSettings,
    Start,
    SyslogPeer,
    Tls,
)
from gatekeeper.config.load import load
from gatekeeper.domain.document import DocumentError
from testkit.configuration import Configuration

SYSLOG: dict[str, object] = {"name": "siem", "kind": "syslog", "address": "logs.example.com:6514"}
HTTP: dict[str, object] = {"name": "siem", "kind": "http", "url": "https://logs.example.com/gatekeeper"}


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The example with its files."""
    return Configuration(tmp_path)


def faults(configuration: Configuration, audit: dict[str, object]) -> list[str]:
    path = configuration.write({"audit": audit})
    try:
        load(path, {})
    except DocumentError as error:
        return [str(fault).removeprefix(f"{path}: ") for fault in error.faults]
    return []


def test_without_a_word_nothing_leaves_the_machine(configuration: Configuration) -> None:
    """And no session waits for anything but the local log."""
    shipping = load(configuration.path, {}).audit.shipping
    assert (shipping.required, shipping.remotes, shipping.heads) == (Required.LOCAL, (), ())
    assert shipping.timeout == timedelta(seconds=5)


def test_everything_that_can_be_said(configuration: Configuration) -> None:
    """Of both kinds of remotes and all kinds of places."""
    pair = configuration.authority.server_certificate("gate")
    ca = str(configuration.authority.ca_file)
    token = configuration.directory / "token"
    token.write_text("s3cret")
    own = {"ca": ca, "client_certificate": str(pair.certificate), "client_key": str(pair.private_key)}
    audit: dict[str, object] = {
        "required": "all",
        "remote_timeout": "3s",
        "remote": [
            {**SYSLOG, **own, "sd_id": "gate@4711", "resend": "30s", "start": "now"},
            {"name": "c2", "kind": "http", "url": "http://127.0.0.1:9/x?y", "token_file": str(token), "batch": 7},
        ],
        "checkpoint": [
            {"name": "mount", "kind": "file", "path": str(configuration.directory)},
            {"name": "post", "kind": "http", "url": "https://a.example/"},
            {"name": "log", "kind": "syslog", "address": "[::1]:601", "tls": "off"},
            {"name": "team", "kind": "witness", "url": "https://w.example/add-checkpoint", "ca": ca},
        ],
    }
    assert faults(configuration, {**audit}) == []
    settings = load(configuration.path, {"GATEKEEPER_SERVER__HOSTNAME": "gate-1.example.com"})
    shipping = settings.audit.shipping
    assert shipping.required is Required.ALL
    assert shipping.timeout == timedelta(seconds=3)
    tls = Tls(ca=Path(ca), client_certificate=pair.certificate, client_key=pair.private_key)
    name = "gate-1.example.com"
    assert shipping.remotes == (
        RemoteSettings(
            name="siem",
            peer=SyslogPeer(host="logs.example.com", port=6514, tls=tls, sd_id="gate@4711", hostname=name),
            start=Start.NOW,
            resend=timedelta(seconds=30),
        ),
        RemoteSettings(
            name="c2",
            peer=HttpPeer(url="http://127.0.0.1:9/x?y", tls=None, token_file=token),
            resend=timedelta(0),
            batch=7,
        ),
    )
    assert shipping.heads == (
        HeadSettings(name="mount", peer=FilePlace(path=configuration.directory)),
        HeadSettings(name="post", peer=HttpPeer(url="https://a.example/", tls=Tls())),
        HeadSettings(name="log", peer=SyslogPeer(host="::1", port=601, tls=None, sd_id=DEFAULT_SD_ID, hostname=name)),
        HeadSettings(
            name="team",
            peer=HttpPeer(url="https://w.example/add-checkpoint", tls=Tls(ca=Path(ca))),
            is_witness=True,
        ),
    )


REMOTE_FAULTS: list[tuple[dict[str, object], str]] = [
    ({"name": "SIEM 1"}, "audit.remote[0].name: `SIEM 1` is not 1 to 32 of a-z, 0-9, `_` and `-`: it names a file"),
    ({"name": "../siem"}, "audit.remote[0].name: `../siem` is not 1 to 32 of a-z, 0-9, `_` and `-`: it names a file"),
    ({"kind": "relp"}, "audit.remote[0].kind: `relp` is not one of syslog, http"),
    ({"kind": None}, "audit.remote[0].kind: is required"),
    (
        {"address": "logs.example.com"},
        "audit.remote[0].address: `logs.example.com` is not an address and port such as 0.0.0.0:993 or [::1]:993",
    ),
    ({"tls": "off"}, "audit.remote[0].tls: off is for loopback only: records say who reads mail where"),
    ({"address": "127.0.0.1:1", "tls": "off", "ca": "x"}, "audit.remote[0].ca: is of no use without TLS"),
    ({"ca": "absent.pem"}, "audit.remote[0].ca: `absent.pem` does not exist"),
    (
        {"sd_id": "gate@4711]"},
        f"audit.remote[0].sd_id: `gate@4711]` is no name such as {DEFAULT_SD_ID}: 1 to 32 printable characters (RFC 5424)",
    ),
    ({"resend": "0s"}, "audit.remote[0].resend: must be at least 1s"),
    ({"start": "end"}, "audit.remote[0].start: `end` is not one of beginning, now"),
    ({"url": "https://a"}, "audit.remote[0].url: unknown key"),
    (
        {**HTTP, "address": None, "url": "ftp://a/"},
        "audit.remote[0].url: is no URL such as https://collector.example.com/gatekeeper",
    ),
    (
        {**HTTP, "address": None, "url": "https:///x"},
        "audit.remote[0].url: is no URL such as https://collector.example.com/gatekeeper",
    ),
    (
        {**HTTP, "address": None, "url": "https://a:b/"},
        "audit.remote[0].url: is no URL: Port could not be cast to integer value as 'b'",
    ),
    (
        {**HTTP, "address": None, "url": "https://u:p@a/"},
        "audit.remote[0].url: has a user, a password or a fragment: a token belongs into token_file",
    ),
    (
        {**HTTP, "address": None, "url": "http://a/"},
        "audit.remote[0].url: http:// is for loopback only: records say who reads mail where",
    ),
    ({**HTTP, "address": None, "token_file": "absent"}, "audit.remote[0].token_file: `absent` does not exist"),
    ({**HTTP, "address": None, "batch": 0}, "audit.remote[0].batch: must lie between 1 and 10000"),
]


@pytest.mark.parametrize(("changes", "fault"), REMOTE_FAULTS, ids=[fault for _, fault in REMOTE_FAULTS])
def test_each_fault_of_a_remote(configuration: Configuration, changes: dict[str, object], fault: str) -> None:
    """Told with its key."""
    remote = {key: value for key, value in {**SYSLOG, **changes}.items() if value is not None}
    assert any(found.startswith(fault) for found in faults(configuration, {"remote": [remote]}))


@pytest.mark.parametrize(
    ("audit", "fault"),
    [
        ({"required": "remote"}, "audit.required: `remote` needs an [[audit.remote]]"),
        ({"required": "any"}, "audit.required: `any` needs an [[audit.remote]]"),
        ({"required": "most"}, "audit.required: `most` is not one of local, remote, any, all"),
        ({"remote_timeout": "1m"}, "audit.remote_timeout: at most 20s: phones do not wait longer"),
        ({"remote_timeout": "1ms"}, "audit.remote_timeout: must be at least 1s"),
        ({"remote": [SYSLOG, HTTP]}, "audit.remote[1].name: `siem` is taken twice"),
        ({"remote": [{**SYSLOG, "name": f"r{number}"} for number in range(9)]}, "audit.remote: at most 8"),
        (
            {"checkpoint": [{"name": "a", "kind": "file", "path": "absent"}]},
            "audit.checkpoint[0].path: `absent` is no directory; it is not made, for it may be a mount that is missing",
        ),
        ({"checkpoint": [{"name": "a", "kind": "witness"}]}, "audit.checkpoint[0].url: is required"),
        (
            {"checkpoint": [{"name": "a", "kind": "witness", "url": "https://w.example/", "vkey": "x"}]},
            "audit.checkpoint[0].vkey: is no witness's key",
        ),
    ],
)
def test_each_fault_of_the_rest(configuration: Configuration, audit: dict[str, object], fault: str) -> None:
    """Likewise."""
    assert any(found.startswith(fault) for found in faults(configuration, audit))


def test_certificate_and_key_go_together(configuration: Configuration) -> None:
    """And are tried as a connection would use them."""
    pair = configuration.authority.server_certificate("gate")
    other = configuration.authority.server_certificate("other")
    (fault,) = faults(configuration, {"remote": [{**SYSLOG, "client_certificate": str(pair.certificate)}]})
    assert fault == "audit.remote[0].client_key: is required: client_certificate and client_key go together"
    both = {"client_certificate": str(pair.certificate), "client_key": str(other.private_key)}
    (fault,) = faults(configuration, {"remote": [{**SYSLOG, **both}]})
    assert fault.startswith("audit.remote[0]: ca, client_certificate and client_key cannot be used together: ")


def test_what_is_shown_of_it_has_no_token(configuration: Configuration) -> None:
    """The settings only know where it lies."""
    token = configuration.directory / "token"
    token.write_text("s3cret")
    configuration.write({"audit": {"remote": [{**HTTP, "token_file": str(token)}]}})
    assert "s3cret" not in repr(load(configuration.path, {}))
