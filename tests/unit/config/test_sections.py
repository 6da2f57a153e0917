"""Each fault of the configuration, told with its key and what to do about it."""

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.config.load import load, names
from gatekeeper.domain.delegation import Delegation
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import IdentitySettings, Plus
from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.account import AccountSettings, CertificateAccount
from gatekeeper.enforcement.flow.dialogue import DialogueLimits
from gatekeeper.gate.identify import Method
from gatekeeper.gate.refusals import RefusalSettings
from gatekeeper.gate.throttle import ThrottleSettings
from gatekeeper.net.crowd import CrowdLimits
from gatekeeper.net.tls import ClientCertificates
from testkit.configuration import Configuration
from testkit.publishing import RUIZ
from testkit.toml import dumps


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The example with its files."""
    return Configuration(tmp_path)


def faults(path: Path) -> list[str]:
    """What is wrong, without the file's name."""
    try:
        load(path, {})
    except DocumentError as error:
        return [str(fault).removeprefix(f"{path}: ") for fault in error.faults]
    return []


IMAPS: dict[str, object] = {"name": "imaps", "protocol": "imap", "bind": "127.0.0.1:0", "tls": "implicit"}


def listeners(*changes: dict[str, object]) -> dict[str, object]:
    """Listeners like `imaps`, each with its changes."""
    return {"listener": [{**IMAPS, **change} for change in changes]}


RUIZ_KEY = str(RUIZ.verifier)

FAULTS: list[tuple[str, dict[str, object], str]] = [
    ("unknown section", {"listner": {}}, "listner: unknown key (did you mean `listener`?)"),
    ("unknown key", {"server": {"drain_timout": "1s"}}, "server.drain_timout: unknown key (did you mean `drain_timeout`?)"),
    ("unknown listener key", listeners({"bnd": "x"}), "listener[0].bnd: unknown key (did you mean `bind`?)"),
    ("wrong type", {"server": {"drain_timeout": 30}}, 'server.drain_timeout: must be a duration such as "30s", "24h" or "7d"'),
    ("bad duration", {"server": {"drain_timeout": "30"}}, 'server.drain_timeout: `30` is not a duration such as "30s", "24h" or "7d"'),
    ("idle too short", {"server": {"idle_timeout": "5s"}}, "server.idle_timeout: must be at least 60s"),
    ("limit too short", {"limits": {"login_timeout": "10ms"}}, "limits.login_timeout: must be at least 1s"),
    ("line too short", {"limits": {"max_line_octets": 100}}, "limits.max_line_octets: must lie between 512 and 1048576"),
    ("bundles without approvers", {"policy": {"bundles": {"origin": "o"}}}, "policy.bundles.approvers: is required: verifier keys, as `gatekeeper policy key show` prints them"),
    ("bundles without origin", {"policy": {"bundles": {"approvers": [RUIZ_KEY], "threshold": 1}}}, "policy.bundles.origin: is required"),
    ("threshold", {"policy": {"bundles": {"origin": "o", "approvers": [RUIZ_KEY]}}}, "policy.bundles.threshold: is 2, but there are only 1 approvers"),
    ("one key twice", {"policy": {"bundles": {"origin": "o", "threshold": 1, "approvers": [RUIZ_KEY, RUIZ_KEY]}}}, "policy.bundles.approvers[1]: `a.ruiz` has the name or the key of another one"),
    ("no key", {"policy": {"bundles": {"origin": "o", "threshold": 1, "approvers": ["a.ruiz"]}}}, "policy.bundles.approvers[0]: is not a verifier key (name+id+base64); `gatekeeper policy key show` prints it"),
    ("breaker without bundles", {"policy": {"breaker": {"max_percent": 5}}}, "policy.breaker: has no effect without [policy.bundles]: a file is not published"),
    ("protected", {"policy": {"breaker": {"protected": [""]}}}, "policy.breaker.protected[0]: `` is no mail login that the gate would accept"),
    ("steps", {"policy": {"canary": {"steps": [5, 100]}}}, "policy.canary.steps: must be rising percentages below 100, such as [5, 25, 50]; after the last one everybody"),
    ("falling steps", {"policy": {"canary": {"steps": [50, 5]}}}, "policy.canary.steps: must be rising percentages below 100, such as [5, 25, 50]; after the last one everybody"),
    ("crowd", {"limits": {"max_per_address": 10}}, "limits.max_waiting_per_address: must not be more than max_per_address"),
    ("unknown limit", {"limits": {"max_line": 1}}, "limits.max_line: unknown key (did you mean `max_line_octets`?)"),
    ("throttle order", {"throttle": {"first_delay": "20s"}}, "throttle.max_delay: must not be shorter than first_delay"),
    ("throttle memory", {"throttle": {"forget_after": "5s"}}, "throttle.forget_after: must not be shorter than max_delay"),
    ("unknown throttle", {"throttle": {"delay": "5s"}}, "throttle.delay: unknown key (did you mean `max_delay`?)"),
    ("fold", {"audit": {"fold": "minute"}}, 'audit.fold: `minute` is not a duration such as "30s", "24h" or "7d"'),
    ("segment size", {"audit": {"segment_octets": 1000}}, "audit.segment_octets: must lie between 1048576 and 1073741824"),
    ("segment age", {"audit": {"segment_age": "10s"}}, "audit.segment_age: must be at least 60s"),
    ("existing", {"audit": {"existing": "drian"}}, "audit.existing: `drian` is not one of keep, drain, drop (did you mean `drain`?)"),
    ("workers", {"server": {"workers": 65}}, "server.workers: must lie between 1 and 64"),
    ("no listener", {"listener": None}, "listener: at least one [[listener]] is required"),
    ("listener name", listeners({"name": "Im aps"}), "listener[0].name: must be 1 to 32 of a-z, 0-9, `_` and `-`"),
    ("listener name twice", listeners({}, {}), "listener[1].name: `imaps` names two listeners"),
    (
        "port twice",
        listeners({"bind": "127.0.0.1:993"}, {"name": "b", "bind": "127.0.0.1:993"}),
        "listener[1].bind: port 993 is bound twice",
    ),
    ("protocol", listeners({"protocol": "imp"}), "listener[0].protocol: `imp` is not one of imap, smtp, pop3, sieve, http (did you mean `imap`?)"),
    ("future protocol", listeners({"protocol": "http"}), "listener[0].protocol: `http` is not spoken in this version (imap, pop3, sieve, smtp)"),
    ("no port", listeners({"bind": "127.0.0.1"}), "listener[0].bind: `127.0.0.1` is not an address and port such as 0.0.0.0:993 or [::1]:993"),
    ("port too high", listeners({"bind": "127.0.0.1:65536"}), "listener[0].bind: `127.0.0.1:65536` is not an address and port such as 0.0.0.0:993 or [::1]:993"),
    ("plaintext", listeners({"bind": "0.0.0.0:143", "tls": "off"}), "listener[0].tls: off is for loopback only, unless allow_plaintext = true"),
    ("bad network", listeners({"proxy_protocol_from": ["10.0.0.0/33"]}), "listener[0].proxy_protocol_from: `10.0.0.0/33` is not a network such as 10.0.0.0/8 or fd00::/8: '10.0.0.0/33' does not appear to be an IPv4 or IPv6 network"),
    ("host bits", listeners({"proxy_protocol_from": ["fd00::/8", "10.0.0.1/8"]}), "listener[0].proxy_protocol_from: `10.0.0.1/8` is not a network such as 10.0.0.0/8 or fd00::/8: 10.0.0.1/8 has host bits set"),
    ("network by name", listeners({"proxy_protocol_from": ["balancer.example"]}), "listener[0].proxy_protocol_from: `balancer.example` is not a network such as 10.0.0.0/8 or fd00::/8: 'balancer.example' does not appear to be an IPv4 or IPv6 network"),
    ("everybody", listeners({"proxy_protocol_from": ["0.0.0.0/0"]}), "listener[0].proxy_protocol_from: `0.0.0.0/0` is everybody: whoever connects could say any address"),
    ("everybody in IPv6", listeners({"proxy_protocol_from": ["::/0"]}), "listener[0].proxy_protocol_from: `::/0` is everybody: whoever connects could say any address"),
    ("mapped network", listeners({"proxy_protocol_from": ["::ffff:10.0.0.0/104"]}), "listener[0].proxy_protocol_from: `::ffff:10.0.0.0/104` is an IPv4 network, to be written as one"),
    ("overlap", listeners({"proxy_protocol_from": ["10.0.0.0/8", "fd00::/8", "10.1.0.7"]}), "listener[0].proxy_protocol_from: `10.1.0.7/32` and `10.0.0.0/8` overlap"),
    ("not a list", listeners({"proxy_protocol_from": "10.0.0.0/8"}), "listener[0].proxy_protocol_from: must be a list of texts"),
    ("no upstream", {"upstream": {"imap": None}}, "upstream.imap: is required: a listener speaks imap"),
    ("unknown upstream", {"upstream": {"http": {}}}, "upstream.http: unknown key"),
    ("plain upstream", {"upstream": {"imap": {"address": "192.0.2.1:143"}}}, "upstream.imap.tls: off is for loopback only: passwords would cross the network in the clear"),
    ("upstream ca", {"upstream": {"imap": {"ca": "absent.pem"}}}, "upstream.imap.ca: `absent.pem` does not exist"),
    ("no address", {"upstream": {"imap": {"address": []}}}, "upstream.imap.address: must name 1 to 16 addresses"),
    ("empty address", {"upstream": {"imap": {"address": ""}}}, "upstream.imap.address: `` is not an address and port such as 0.0.0.0:993 or [::1]:993"),
    ("bad address of several", {"upstream": {"imap": {"address": ["127.0.0.1:143", "mail"]}}}, "upstream.imap.address: `mail` is not an address and port such as 0.0.0.0:993 or [::1]:993"),
    ("address twice", {"upstream": {"imap": {"address": ["127.0.0.1:143", "127.0.0.1:143"]}}}, "upstream.imap.address: names an address twice"),
    ("one plain address elsewhere", {"upstream": {"imap": {"address": ["127.0.0.1:143", "192.0.2.1:143"]}}}, "upstream.imap.tls: off is for loopback only: passwords would cross the network in the clear"),
    ("upstream certificate", {"upstream": {"smtp": {"client_certificate": "absent.pem", "client_key": "gone.pem"}}}, "upstream.smtp.client_key: `gone.pem` does not exist"),
    ("upstream certificate without key", {"upstream": {"smtp": {"client_certificate": "absent.pem"}}}, "upstream.smtp.client_key: is required: client_certificate and client_key go together"),
    ("upstream certificate without TLS", {"upstream": {"imap": {"client_key": "absent.pem"}}}, 'upstream.imap.client_key: is of no use with tls = "off"'),
    ("connect_timeout", {"limits": {"connect_timeout": "10ms"}}, "limits.connect_timeout: must be at least 1s"),
    ("client address", {"upstream": {"imap": {"client_address": "xclient"}}}, "upstream.imap.client_address: `xclient` is not one of id, proxy, proxy-v2, none for imap"),
    ("certificate", {"tls": {"certificate": "absent.pem"}}, "tls.certificate: `absent.pem` does not exist"),
    ("no certificate", {"tls": {"certificate": None}}, "tls.certificate: is required"),
    ("client_ca", {"tls": {"client_ca": None}}, "tls.client_ca: is required with client_certificates = `request`"),
    ("profile", {"tls": {"profile": "old"}}, "tls.profile: `old` is not one of modern, intermediate"),
    ("client_crl", {"tls": {"client_crl": "absent.pem"}}, "tls.client_crl: `absent.pem` does not exist"),
    ("certificate_for without names", {"tls": {"certificate_for": [{}]}}, "tls.certificate_for[0].names: at least one is required"),
    ("certificate_for without key", {"tls": {"certificate_for": [{"names": ["a.example"]}]}}, "tls.certificate_for[0].private_key: is required"),
    ("certificate_for file", {"tls": {"certificate_for": [{"names": ["a.example"], "certificate": "absent.pem", "private_key": "x"}]}}, "tls.certificate_for[0].certificate: `absent.pem` does not exist"),
    ("certificate_for name", {"tls": {"certificate_for": [{"names": ["*.*.example"]}]}}, "tls.certificate_for[0].names: `*.*.example` is no host name such as mail.example.com or *.example.com (in ASCII)"),
    ("certificate_for name twice", {"tls": {"certificate_for": [{"names": ["a.example"]}, {"names": ["A.example"]}]}}, "tls.certificate_for[1].names: `a.example` has two certificates"),
    ("certificate_for unknown key", {"tls": {"certificate_for": [{"name": "a.example"}]}}, "tls.certificate_for[0].name: unknown key (did you mean `names`?)"),
    ("binding", {"binding": {"order": ["users"]}}, "binding.order: `users` is not one of client_certificate, user, device_credential, oauth_token, eas_device_id"),
    ("issuer kind", {"evidence": {"issuer": [{"name": "a", "kind": "kid", "ca": "absent"}]}}, "evidence.issuer[0].kind: `kid` is not supported in this version (x5c)"),
    ("issuer ca", {"evidence": {"issuer": [{"name": "a", "ca": "absent"}]}}, "evidence.issuer[0].ca: `absent` cannot be read: No such file or directory"),
    ("no issuer", {"evidence": {"issuer": None}}, "evidence.issuer: at least one [[evidence.issuer]] is required"),
    ("no audience", {"evidence": {"audience": None}}, "evidence.audience: is required"),
    ("audit address", {"audit": {"client_address": "none"}}, "audit.client_address: `none` is not one of network, full"),
    ("refusal", {"refusal": {"imap_code": "ALRT"}}, "refusal.imap_code: `ALRT` is not one of UNAVAILABLE, ALERT, CONTACTADMIN (did you mean `ALERT`?)"),
    ("domain", {"identity": {"default_domain": "@example.com"}}, "identity.default_domain: `@example.com` is not a domain such as example.com"),
    ("separator", {"identity": {"refused_separators": ["+"]}}, "identity.refused_separators: `+` is not one of * % / \\ (`+` has `plus`)"),
    ("case", {"identity": {"case": "upper"}}, "identity.case: `upper` is not one of lower, preserve"),
    ("plus", {"identity": {"plus": "drop"}}, "identity.plus: `drop` is not one of keep, refuse, strip"),
    ("certificate account", {"identity": {"certificate_account": "serial"}}, "identity.certificate_account: `serial` is not one of san_email, common_name"),
    ("unknown identity key", {"identity": {"domain": "x"}}, "identity.domain: unknown key (did you mean `default_domain`?)"),
    ("delegation without reason", {"delegation": [{"authcid": "a", "authzid": "b"}]}, "delegation[0].reason: is required"),
    ("delegation with empty reason", {"delegation": [{"authcid": "a", "authzid": "b", "reason": " "}]}, "delegation[0].reason: must not be empty"),
    ("delegation without authzid", {"delegation": [{"authcid": "a", "reason": "r"}]}, "delegation[0].authzid: is required"),
    ("delegation to everybody", {"delegation": [{"authcid": "a", "authzid": "*", "reason": "r"}]}, "delegation[0].authzid: `*` would match everybody"),
    ("delegation of no account", {"delegation": [{"authcid": "a b", "authzid": "b", "reason": "r"}]}, "delegation[0].authcid: `a b` is not a pattern of accounts such as *@example.com"),
    ("service without password", {"upstream": {"imap": {"service_user": "gate"}}}, "upstream.imap.service_password_file: service_user and service_password_file are required together"),
    ("service without user", {"upstream": {"imap": {"service_password_file": "/dev/null"}}}, "upstream.imap.service_user: service_user and service_password_file are required together"),
    ("service with an empty password", {"upstream": {"imap": {"service_user": "g", "service_password_file": "/dev/null"}}}, "upstream.imap.service_user: service_user and its password must be one line each, without control characters"),
    ("password in the document", {"upstream": {"imap": {"service_user": "gate", "service_password": "hush"}}}, "upstream.imap.service_password: must not stand here: name a file in service_password_file, or set it in the environment"),
    ("admin", {"admin": {"bind": "9080"}}, "admin.bind: `9080` is not an address and port such as 0.0.0.0:993 or [::1]:993"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "fault"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_fault_is_told_with_its_key(configuration: Configuration, changes: dict[str, object], fault: str) -> None:
    """And what was meant, where it can be guessed."""
    assert fault in faults(configuration.write(changes))


def test_all_faults_are_told_at_once(configuration: Configuration) -> None:
    """One run of `config check` is enough."""
    found = faults(
        configuration.write(
            {
                "server": {"drain_timeout": "soon", "colour": 1},
                "tls": {"private_key": "absent.key"},
                "policy": {"file": 7},
                "store": {"url": 7},
                **listeners({"protocol": "http"}, {"tls": "maybe"}),
            }
        )
    )
    keys = [fault.split(": ")[0] for fault in found]
    assert {
        "server.drain_timeout",
        "server.colour",
        "tls.private_key",
        "policy.file",
        "store.url",
        "listener[0].protocol",
        "listener[1].tls",
        "listener[1].name",
    } <= set(keys)


def test_an_empty_configuration_says_what_is_required(tmp_path: Path) -> None:
    """Only what has no default."""
    path = tmp_path / "empty.toml"
    path.write_text("")
    assert faults(path) == ["listener: at least one [[listener]] is required"]


def test_a_certificate_and_a_key_that_do_not_fit_are_told(configuration: Configuration) -> None:
    """Before the first phone meets them."""
    other = configuration.authority.server_certificate("other")
    (fault,) = faults(configuration.write({"tls": {"private_key": str(other.private_key)}}))
    assert fault.startswith("tls: certificate, private_key and client_ca cannot be used together: ")
    assert "mismatch" in fault.lower()


def test_a_certificate_for_a_name_that_does_not_fit_its_key_is_told(configuration: Configuration) -> None:
    """Each on its own."""
    pair, other = (configuration.authority.server_certificate(name) for name in ("named", "other"))
    named = {"names": ["a.example"], "certificate": str(pair.certificate), "private_key": str(other.private_key)}
    (fault,) = faults(configuration.write({"tls": {"certificate_for": [named]}}))
    assert fault.startswith("tls.certificate_for[0]: certificate and private_key cannot be used together: ")
    configuration.write({"tls": {"certificate_for": [{**named, "private_key": str(pair.private_key)}]}})
    tls = load(configuration.path, {}).tls
    assert tls is not None
    assert [one.names for one in tls.named] == [("a.example",)]
    assert len(tls.files()) == 5


def test_a_list_of_revoked_certificates_that_is_of_no_use_is_told(configuration: Configuration) -> None:
    """One of another CA, no list at all, and one without a CA; one that has expired is for `doctor`."""
    foreign = configuration.authority.revocation_list()
    (fault,) = faults(configuration.write({"tls": {"client_crl": str(foreign)}}))
    assert fault.startswith(f"tls.client_crl: `{foreign}` cannot be used: the list of `")
    key = str(configuration.server.private_key)
    (fault,) = faults(configuration.write({"tls": {"client_crl": key}}))
    assert fault == f"tls.client_crl: `{key}` cannot be used: holds something else than X509 CRL"
    own = str(configuration.devices.revocation_list(valid_for=timedelta(hours=-1)))
    assert faults(configuration.write({"tls": {"client_crl": own}})) == []
    without_ca = {"client_ca": None, "client_certificates": "off"}
    (fault,) = faults(configuration.write({"tls": without_ca}))
    assert fault == "tls.client_crl: is of no use without client_ca"


def test_an_issuer_without_a_usable_ca_is_told(configuration: Configuration, tmp_path: Path) -> None:
    """A key is no certificate; an OID must be one."""
    issuer = {"name": "a", "ca": str(configuration.server.private_key)}
    (fault,) = faults(configuration.write({"evidence": {"issuer": [issuer]}}))
    assert "evidence.issuer[0].ca: `" in fault
    ca = str(tmp_path / "attestation-ca.pem")
    (fault,) = faults(configuration.write({"evidence": {"issuer": [{"name": "a", "ca": ca, "eku_oid": "x"}]}}))
    assert "eku_oid" in fault


def test_an_upstream_ca_without_a_certificate_is_told(configuration: Configuration) -> None:
    """The mail server could never be verified."""
    key = str(configuration.server.private_key)
    (fault,) = faults(configuration.write({"upstream": {"smtp": {"ca": key}}}))
    assert fault.startswith(f"upstream.smtp.ca: `{key}` holds no usable CA certificate")


def test_a_certificate_for_the_mail_server_that_does_not_fit_is_told(configuration: Configuration) -> None:
    """Its key is another's."""
    pair, other = (configuration.authority.server_certificate(name) for name in ("gate", "other"))
    shown = {"client_certificate": str(pair.certificate), "client_key": str(other.private_key)}
    (fault,) = faults(configuration.write({"upstream": {"smtp": shown}}))
    assert fault.startswith("upstream.smtp.client_certificate: cannot be used with client_key: ")
    configuration.write({"upstream": {"smtp": {"client_key": str(pair.private_key)}}})
    settings = load(configuration.path, {}).upstreams[MailProtocol.SMTP]
    assert (settings.client_certificate, settings.client_key) == (pair.certificate, pair.private_key)


def test_addresses_keep_their_order(configuration: Configuration) -> None:
    """It is the order of preference; one alone is a text."""
    configuration.write({"upstream": {"imap": {"address": ["[::1]:1143", "127.0.0.1:143"]}}})
    settings = load(configuration.path, {})
    assert settings.upstreams[MailProtocol.IMAP].addresses == (("::1", 1143), ("127.0.0.1", 143))
    assert settings.upstreams[MailProtocol.SMTP].addresses == (("127.0.0.1", 9),)


def test_what_has_no_effect_yet_is_noted(configuration: Configuration) -> None:
    """Methods of binding that nothing answers by load, with a note for each."""
    configuration.write(
        {
            "binding": {"order": ["client_certificate", "device_credential", "oauth_token", "eas_device_id", "user"]},
        }
    )
    settings = load(configuration.path, {})

    assert settings.binding.order == (Method.CLIENT_CERTIFICATE, Method.USER)
    assert [note.split(": ")[0] for note in settings.notes] == ["binding.order"] * 3


def test_the_signing_key_lies_beside_the_log_or_elsewhere(configuration: Configuration) -> None:
    """The log's directory decides where it is, unless it is named."""
    configuration.write({"audit": {"directory": "/srv/audit"}})
    assert load(configuration.path, {}).audit.signing_key == Path("/srv/audit/signing.key")
    configuration.write({"audit": {"directory": "/srv/audit", "signing_key": "/etc/audit.key"}})
    assert load(configuration.path, {}).audit.signing_key == Path("/etc/audit.key")


@pytest.mark.parametrize("origin", ["", "gate 1", "gate+1", "gate\t1", "gät"])
def test_the_origin_can_name_a_key(configuration: Configuration, origin: str) -> None:
    """A signed note has no room for other names."""
    configuration.write({"audit": {"origin": origin}})
    with pytest.raises(DocumentError, match=r"audit\.origin: names the key"):
        load(configuration.path, {})


@pytest.mark.parametrize("bind", ["127.0.0.1:1143", "[::1]:1143", "localhost:1143"])
def test_loopback_needs_no_tls(tmp_path: Path, bind: str) -> None:
    """And without TLS on any listener no certificate is asked for."""
    path = tmp_path / "plain.toml"
    path.write_text(
        dumps(
            {
                **listeners({"bind": bind, "tls": "off"}),
                "upstream": {"imap": {"address": "localhost:143", "tls": "off"}},
            }
        )
    )
    settings = load(path, {})
    assert settings.tls is None
    assert settings.listeners[0].allow_plaintext
    assert settings.listeners[0].port == 1143
    assert settings.hostname == (socket.gethostname() or "localhost")


def test_plaintext_elsewhere_has_to_be_asked_for(configuration: Configuration) -> None:
    """By name."""
    configuration.write(listeners({"bind": "0.0.0.0:143", "tls": "off", "allow_plaintext": True}))
    assert load(configuration.path, {}).listeners[0].allow_plaintext


def test_without_client_certificates_no_ca_is_needed(configuration: Configuration) -> None:
    """The default asks phones for none."""
    configuration.write({"tls": {"client_ca": None, "client_certificates": None}})
    settings = load(configuration.path, {})
    assert settings.tls is not None
    assert settings.tls.client_certificates is ClientCertificates.OFF


def test_without_an_evidence_section_none_is_taken(configuration: Configuration) -> None:
    """The API then refuses every token."""
    configuration.write({"evidence": None})
    assert load(configuration.path, {}).evidence is None


def test_load_balancers_are_networks_and_addresses(configuration: Configuration) -> None:
    """Of both families; none unless told."""
    changes = listeners({"proxy_protocol_from": ["10.0.0.0/8", "192.0.2.7", "fd00::/8"]}, {"name": "direct"})
    behind, direct = load(configuration.write(changes), {}).listeners
    assert [str(network) for network in behind.proxy_protocol_from] == ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]
    assert direct.proxy_protocol_from == ()


def test_names_and_delegations_are_read(configuration: Configuration) -> None:
    """Patterns come in the canonical form of the names they are about."""
    settings = load(
        configuration.write(
            {
                "identity": {
                    "case": "lower",
                    "default_domain": "Example.COM",
                    "refused_separators": ["*", "%", "/"],
                    "plus": "strip",
                    "certificate_account": "common_name",
                },
                "delegation": [{"authcid": "Assistant", "authzid": "Team-*@Example.com", "reason": "mail of the team"}],
            }
        ),
        {},
    ).accounts

    assert settings == AccountSettings(
        names=IdentitySettings(default_domain="example.com", refused_separators="*%/", plus=Plus.STRIP),
        delegations=(
            Delegation(authcid="assistant@example.com", authzid="team-*@example.com", reason="mail of the team"),
        ),
        certificate_account=CertificateAccount.COMMON_NAME,
    )


def test_without_the_section_names_are_as_ever(configuration: Configuration) -> None:
    """Lower case, no domain, nobody acts for another, and no service account."""
    settings = load(configuration.write({}), {})
    assert settings.accounts == AccountSettings()
    assert all(upstream.service is None for upstream in settings.upstreams.values())


def test_a_service_account_comes_from_a_file_or_the_environment(configuration: Configuration, tmp_path: Path) -> None:
    """Spaces belong to a password, its line end does not, and digits stay a text; it is never shown."""
    file = tmp_path / "service-password"
    file.write_text(" hush hush \n")
    path = configuration.write({"upstream": {"imap": {"service_user": "gate", "service_password_file": str(file)}}})
    from_file = load(path, {}).upstreams[MailProtocol.IMAP].service
    environment = {"GATEKEEPER_UPSTREAM__IMAP__SERVICE_PASSWORD": "0123"}
    from_environment = load(path, environment).upstreams[MailProtocol.IMAP].service
    assert from_file is not None
    assert from_environment is not None
    assert (from_file.user, from_file.password.declassify()) == ("gate", b" hush hush ")
    assert from_environment.password.declassify() == b"0123"
    assert "hush" not in repr(load(path, {}))


def test_names_are_known_without_the_rest(configuration: Configuration, tmp_path: Path) -> None:
    """Commands on the registry need no listeners; but they do not guess at names."""
    broken = configuration.write({"listener": None, "identity": {"default_domain": "example.com"}})
    assert names(broken, {}).default_domain == "example.com"
    assert names(broken, {"GATEKEEPER_IDENTITY__PLUS": "refuse"}).plus is Plus.REFUSE
    assert names(tmp_path / "absent.toml", {}) == IdentitySettings()
    with pytest.raises(DocumentError, match=r"identity\.case"):
        names(configuration.write({"identity": {"case": "upper"}}), {})


def test_limits_and_throttle_are_taken_as_written(configuration: Configuration) -> None:
    """What is not written is the default: of dialogues, each protocol's own."""
    configuration.write(
        {
            "limits": {"max_line_octets": 1000, "max_errors": 7, "max_handshakes": 50, "max_connections": 60},
            "throttle": {"first_delay": "1s", "free_accounts": 0, "remember_refusals": "30s"},
            "audit": {"fold": "0s"},
        }
    )
    settings = load(configuration.path, {})
    assert settings.limits.dialogue == DialogueLimits(max_line_octets=1000, max_errors=7)
    assert settings.limits.max_handshakes == 50
    assert settings.limits.crowd == CrowdLimits(max_connections=60)
    assert settings.throttle == ThrottleSettings(first_delay_s=1, free_accounts=0)
    assert settings.refusals == RefusalSettings(remember_for_s=30)
    assert settings.audit.fold == timedelta(0)
