"""Appraisal of signed evidence: the genuine token, and every way to get one wrong."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.attestation.issuer import Algorithm, Issuer
from gatekeeper.attestation.profile import PROFILE, Appraised, appraise, check_owner
from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.cli.demo.phone_agent import CertificateAuthority, Identity, jose_header, to_base64url
from gatekeeper.domain.app import App
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Platform
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.domain.posture import DeviceFlag, Scope
from testkit.evidence import (
    OMIT,
    AttestationAuthority,
    hmac_with_public_key,
    new_nonce,
    signed,
    unsigned,
    url_safe,
    with_chain,
)

from .conftest import NOW

AUDIENCE = "gatekeeper.example"
NONCE = to_base64url(bytes(range(32)))
APPS = (App(id="com.example.notes", version="1.2"), App(id="com.zhiliaoapp.musically", version="16.6.5"))
IAT = int(NOW.timestamp())
DEVICE = Device(
    device_id=DeviceId("ph-001"),
    account="kim@example.com",
    platform=Platform.ANDROID,
    device_class=DeviceClass.MOBILE,
)


def good(authority: AttestationAuthority, **overrides: object) -> str:
    return authority.token("ph-001", APPS, NONCE, AUDIENCE, NOW, **overrides)


@pytest.fixture(scope="module")
def genuine(authority: AttestationAuthority) -> str:
    """One token, the same for every flip."""
    return good(authority)


def appraised(
    authority: AttestationAuthority, token: str | bytes, *, now: datetime = NOW, **terms: object
) -> Appraised:
    octets = token.encode() if isinstance(token, str) else token
    return appraise(octets, issuers=[authority.issuer(**terms)], audience=AUDIENCE, now=now)


def code(authority: AttestationAuthority, token: str | bytes, *, now: datetime = NOW, **terms: object) -> RejectionCode:
    with pytest.raises(EvidenceRejected) as refused:
        appraised(authority, token, now=now, **terms)
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 200
    assert NONCE not in str(refused.value)
    assert "musically" not in str(refused.value)
    return refused.value.code


def test_a_genuine_token_is_appraised(authority: AttestationAuthority) -> None:
    """Everything that the registry needs comes out."""
    token = good(authority, sub="Kim@Example.com", inv_collected_at=IAT - 9)
    found = appraised(authority, token)

    assert found.device_id == "ph-001"
    assert found.account == "kim@example.com"
    assert found.platform is Platform.ANDROID
    assert found.result.source == "company-agents"
    assert found.result.proves_absence
    assert found.result.collected_at == NOW - timedelta(seconds=9)
    assert found.result.apps.apps == APPS
    assert found.evidence_sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert found.nonce_digest == hashlib.sha256(NONCE.encode()).digest()
    assert found.exp == NOW + timedelta(minutes=10)
    assert found.replay_until == NOW + timedelta(minutes=11)
    assert len(found.jti) == 22
    assert "notes" not in repr(found)


def test_the_profile_is_the_published_one() -> None:
    """Agents in the field send this text; a change is a new profile."""
    assert PROFILE == "tag:gatekeeper.example,2026:app-inventory/1"


def test_optional_claims_may_be_absent_and_unknown_ones_are_ignored(authority: AttestationAuthority) -> None:
    """A later agent may say more than this gate understands."""
    ueid = to_base64url(b"\x01" + b"x" * 16)
    token = good(authority, swname=OMIT, sueids=OMIT, ueid=ueid, future={"a": [1]}, oemboot=True, cnf={"jkt": "x"})

    assert appraised(authority, token).account is None


@pytest.mark.parametrize("scope", [Scope.MANAGED_ONLY, Scope.WORK_PROFILE, Scope.USER_VISIBLE])
def test_narrow_and_incomplete_lists_never_prove_absence(authority: AttestationAuthority, scope: Scope) -> None:
    """They are taken for what they show."""
    assert not appraised(authority, good(authority, inv_scope=scope.value)).result.proves_absence
    assert not appraised(authority, good(authority, inv_complete=False)).result.proves_absence


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"eat_profile": "tag:gatekeeper.example,2026:app-inventory/2"}, RejectionCode.PROFILE_UNKNOWN),
        ({"eat_profile": [PROFILE]}, RejectionCode.PROFILE_UNKNOWN),
        ({"eat_profile": OMIT}, RejectionCode.PROFILE_UNKNOWN),
        ({"aud": "other.example"}, RejectionCode.AUD_MISMATCH),
        ({"aud": [AUDIENCE]}, RejectionCode.AUD_MISMATCH),
        ({"aud": OMIT}, RejectionCode.AUD_MISMATCH),
        ({"iat": float(IAT)}, RejectionCode.MALFORMED),
        ({"iat": True}, RejectionCode.MALFORMED),
        ({"iat": str(IAT)}, RejectionCode.MALFORMED),
        ({"iat": OMIT}, RejectionCode.MALFORMED),
        ({"iat": -1}, RejectionCode.MALFORMED),
        ({"iat": 10**15}, RejectionCode.MALFORMED),
        ({"iat": IAT + 61, "exp": IAT + 600}, RejectionCode.NOT_YET_VALID),
        ({"nbf": IAT + 61}, RejectionCode.NOT_YET_VALID),
        ({"nbf": "soon"}, RejectionCode.MALFORMED),
        ({"exp": IAT + 901}, RejectionCode.MALFORMED),
        ({"exp": IAT}, RejectionCode.MALFORMED),
        ({"exp": OMIT}, RejectionCode.MALFORMED),
        ({"iat": IAT - 600, "inv_collected_at": IAT - 700, "exp": IAT - 60}, RejectionCode.STALE),
        ({"inv_collected_at": IAT - 86_401}, RejectionCode.STALE),
        ({"inv_collected_at": IAT + 1}, RejectionCode.MALFORMED),
        ({"inv_collected_at": OMIT}, RejectionCode.MALFORMED),
        ({"inv_collected_at": 1.5}, RejectionCode.MALFORMED),
        ({"inv_collected_at": True}, RejectionCode.MALFORMED),
        ({"jti": OMIT}, RejectionCode.MALFORMED),
        ({"jti": "x" * 15}, RejectionCode.MALFORMED),
        ({"jti": "x" * 65}, RejectionCode.MALFORMED),
        ({"jti": "é" * 20}, RejectionCode.MALFORMED),
        ({"jti": 10**17}, RejectionCode.MALFORMED),
        ({"eat_nonce": OMIT}, RejectionCode.NONCE_INVALID),
        ({"eat_nonce": [NONCE]}, RejectionCode.NONCE_INVALID),
        ({"eat_nonce": NONCE[:-1]}, RejectionCode.NONCE_INVALID),
        ({"eat_nonce": NONCE + "="}, RejectionCode.NONCE_INVALID),
        ({"eat_nonce": to_base64url(b"x" * 31)}, RejectionCode.NONCE_INVALID),
        ({"eat_nonce": to_base64url(b"x" * 33)}, RejectionCode.NONCE_INVALID),
        ({"eat_nonce": NONCE[:-1] + "9"}, RejectionCode.NONCE_INVALID),
        ({"sueids": OMIT}, RejectionCode.MALFORMED),
        ({"ueid": to_base64url(b"\x01" * 17)}, RejectionCode.MALFORMED),
        ({"sueids": {"other": to_base64url(b"\x01" * 17)}}, RejectionCode.MALFORMED),
        ({"sueids": to_base64url(b"\x01" * 17)}, RejectionCode.MALFORMED),
        ({"sueids": {"gatekeeper": to_base64url(b"\x01" * 6)}}, RejectionCode.MALFORMED),
        ({"sueids": {"gatekeeper": "not base64"}}, RejectionCode.MALFORMED),
        ({"sueids": {"gatekeeper": to_base64url(b"\x03" + b"1" * 14)}}, RejectionCode.CLAIM_PROHIBITED),
        ({"sueids": OMIT, "ueid": to_base64url(b"\x03" + b"1" * 14)}, RejectionCode.CLAIM_PROHIBITED),
        ({"sub": "kim*admin"}, RejectionCode.MALFORMED),
        ({"sub": None}, RejectionCode.MALFORMED),
        ({"inv_scope": OMIT}, RejectionCode.MALFORMED),
        ({"inv_scope": "everything"}, RejectionCode.MALFORMED),
        ({"inv_scope": 1}, RejectionCode.MALFORMED),
        ({"inv_scope": "query"}, RejectionCode.UNSUPPORTED),
        ({"inv_complete": OMIT}, RejectionCode.MALFORMED),
        ({"inv_complete": 1}, RejectionCode.MALFORMED),
        ({"inv_platform": OMIT}, RejectionCode.MALFORMED),
        ({"inv_platform": "Android"}, RejectionCode.MALFORMED),
        ({"measurements": OMIT}, RejectionCode.INCOMPLETE),
        ({"measurements": []}, RejectionCode.INCOMPLETE),
        ({"measurements": [[258, "oA"]]}, RejectionCode.UNSUPPORTED),
        ({"measurements": [[296, "{}"]] * 2001}, RejectionCode.TOO_LARGE),
        ({"measres": [["gatekeeper-deny", [["no-tiktok", "absent"]]]]}, RejectionCode.UNSUPPORTED),
        ({"location": {"latitude": 1}}, RejectionCode.CLAIM_PROHIBITED),
        ({"deep": [[[[[[[[[]]]]]]]]]}, RejectionCode.MALFORMED),
    ],
)
def test_a_bad_claim_is_refused(
    authority: AttestationAuthority, overrides: dict[str, object], expected: RejectionCode
) -> None:
    """Each has its code; the detail is one short line without nonce and apps."""
    assert code(authority, good(authority, **overrides)) is expected


def test_the_jwt_claim_nonce_does_not_stand_in(authority: AttestationAuthority) -> None:
    """RFC 9711 forbids it."""
    claims = authority.claims("ph-001", APPS, NONCE, AUDIENCE, NOW, eat_nonce=OMIT)

    assert code(authority, signed({**claims, "nonce": NONCE}, authority.leaf("ph-001"))) is RejectionCode.NONCE_INVALID


@pytest.mark.parametrize("seconds", [-59, 0, 659])
def test_clocks_may_differ_by_a_minute(authority: AttestationAuthority, seconds: int) -> None:
    """Before iat and after exp."""
    assert appraised(authority, good(authority), now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(("seconds", "expected"), [(-61, RejectionCode.NOT_YET_VALID), (660, RejectionCode.STALE)])
def test_clocks_may_not_differ_by_more(authority: AttestationAuthority, seconds: int, expected: RejectionCode) -> None:
    """At the edge on both sides."""
    assert code(authority, good(authority), now=NOW + timedelta(seconds=seconds)) is expected


def test_a_duplicate_claim_is_refused(authority: AttestationAuthority) -> None:
    """The last one would win in one reader and the first in another."""
    claims = json.dumps(authority.claims("ph-001", APPS, NONCE, AUDIENCE, NOW))
    twice = claims[:-1] + ', "inv_complete": true}'

    assert code(authority, signed(twice.encode(), authority.leaf("ph-001"))) is RejectionCode.MALFORMED


@pytest.mark.parametrize("payload", [b"[]", b"{", b"", b'{"a":NaN}', b"\xff", b'"text"'])
def test_a_payload_that_is_no_object_is_refused(authority: AttestationAuthority, payload: bytes) -> None:
    """Although its signature is genuine."""
    assert code(authority, signed(payload, authority.leaf("ph-001"))) is RejectionCode.MALFORMED


def test_forged_signatures_are_refused(authority: AttestationAuthority) -> None:
    """Another key, a changed payload, no signature, a symmetric one, an algorithm that does not fit the key."""
    leaf, other = authority.leaf("ph-001"), authority.leaf("ph-002")
    claims = authority.claims("ph-001", APPS, NONCE, AUDIENCE, NOW)
    header, _, signature = good(authority).split(".")
    changed = f"{header}.{to_base64url(json.dumps(claims).encode())}.{signature}"
    p384 = authority.issue_leaf("ph-001", key=ec.generate_private_key(ec.SECP384R1()))
    forged = [
        good(authority, identity=Identity(other.key, leaf.chain)),
        changed,
        hmac_with_public_key(claims, leaf),
        good(authority, identity=p384, header={"alg": "ES256"}),
    ]

    assert [code(authority, token) for token in forged] == [RejectionCode.SIG_INVALID] * len(forged)
    assert code(authority, unsigned(claims, leaf)) in (RejectionCode.SIG_INVALID, RejectionCode.MALFORMED)
    assert code(authority, unsigned(claims, leaf) + "AA") is RejectionCode.SIG_INVALID


def test_wrong_certificates_are_refused(authority: AttestationAuthority) -> None:
    """Use, validity, trust, order."""
    impostor = CertificateAuthority.create("Test Attestation CA", now=NOW - timedelta(days=9))
    intermediate = authority.issue_leaf("ph-001", by=authority.ca.intermediate("I", now=NOW - timedelta(days=9)))
    wrong = [
        authority.issue_leaf("ph-001", eku="1.3.6.1.5.5.7.3.2"),
        authority.issue_leaf("ph-001", not_after=NOW - timedelta(days=1)),
        authority.issue_leaf("ph-001", not_before=NOW + timedelta(days=1)),
        authority.issue_leaf("ph-001", by=impostor),
        authority.issue_leaf("ph-001", uris=["urn:other:ph-001"]),
        with_chain(intermediate, *reversed(intermediate.chain)),
        with_chain(intermediate, intermediate.certificate),
    ]

    codes = [code(authority, good(authority, identity=identity)) for identity in wrong]
    assert codes == [RejectionCode.CHAIN_INVALID] * len(wrong)


def test_the_chain_must_hold_at_issue_and_now(authority: AttestationAuthority) -> None:
    """A leaf that began after the token was made, and one that ended since."""
    young = authority.issue_leaf("ph-001", not_before=NOW + timedelta(seconds=30))
    old = authority.issue_leaf("ph-001", not_after=NOW + timedelta(seconds=30))
    later = NOW + timedelta(seconds=45)

    assert code(authority, good(authority, identity=young), now=later) is RejectionCode.CHAIN_INVALID
    assert code(authority, good(authority, identity=old), now=later) is RejectionCode.CHAIN_INVALID
    assert appraised(authority, good(authority, identity=old))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"typ": "JWT"}, RejectionCode.MALFORMED),
        ({"crit": ["x"], "x": 1}, RejectionCode.UNSUPPORTED),
        ({"x5c": OMIT}, RejectionCode.MALFORMED),
        ({"alg": "none"}, RejectionCode.SIG_INVALID),
    ],
)
def test_a_bad_header_is_refused(
    authority: AttestationAuthority, header: dict[str, object], expected: RejectionCode
) -> None:
    """Although its signature is genuine."""
    assert code(authority, good(authority, header=header)) is expected


def test_url_safe_x5c_trailing_garbage_and_size_are_refused(authority: AttestationAuthority) -> None:
    """The spellings that lenient readers take."""
    identity = next(
        found
        for found in (authority.issue_leaf("ph-001") for _ in range(50))
        if url_safe(jose_header(found)["x5c"][0]) != jose_header(found)["x5c"][0]
    )
    x5c = [url_safe(jose_header(identity)["x5c"][0])]

    assert code(authority, good(authority, identity=identity, header={"x5c": x5c})) is RejectionCode.MALFORMED
    assert code(authority, good(authority) + "=") is RejectionCode.MALFORMED
    assert code(authority, b"x" * (256 * 1024 + 1)) is RejectionCode.TOO_LARGE


def test_issuers_have_terms_of_their_own(authority: AttestationAuthority) -> None:
    """Algorithms, age, scopes, revoked serials."""
    serial = authority.leaf("ph-001").certificate.serial_number
    token = good(authority, inv_collected_at=IAT - 61)

    assert code(authority, token, algorithms=frozenset({Algorithm.ES384})) is RejectionCode.SIG_INVALID
    assert code(authority, token, max_age=timedelta(minutes=1)) is RejectionCode.STALE
    assert code(authority, token, denied_serials=frozenset({serial})) is RejectionCode.CHAIN_INVALID
    narrow = good(authority, inv_scope="managed-only")
    assert code(authority, narrow, scopes=frozenset({Scope.FULL})) is RejectionCode.SCOPE_INSUFFICIENT


def test_the_issuer_is_the_one_whose_ca_vouches(authority: AttestationAuthority) -> None:
    """Among several; with none that does, or none at all, the chain is invalid."""
    other = Issuer(name="other", ca=CertificateAuthority.create("Other", now=NOW - timedelta(days=9)).certificate_pem)
    token = good(authority).encode()

    for issuers in ([other, authority.issuer("mine")], [authority.issuer("mine"), other]):
        assert appraise(token, issuers=issuers, audience=AUDIENCE, now=NOW).result.source == "mine"
    for nobody in ([other], []):
        with pytest.raises(EvidenceRejected, match="chain-invalid"):
            appraise(token, issuers=nobody, audience=AUDIENCE, now=NOW)


def test_evidence_must_fit_the_registered_device(authority: AttestationAuthority) -> None:
    """Its id, its owner when named, its platform."""
    named, unnamed = (appraised(authority, good(authority, sub=sub)) for sub in ("kim@example.com", OMIT))
    check_owner(named, DEVICE)
    check_owner(unnamed, DEVICE)

    def refused(found: Appraised, device: Device) -> RejectionCode:
        with pytest.raises(EvidenceRejected) as refusal:
            check_owner(found, device)
        return refusal.value.code

    assert refused(named, replace(DEVICE, account="pat@example.com")) is RejectionCode.OWNER_MISMATCH
    assert refused(named, replace(DEVICE, device_id=DeviceId("ph-002"))) is RejectionCode.DEVICE_UNKNOWN
    assert refused(named, replace(DEVICE, platform=Platform.LINUX)) is RejectionCode.PLATFORM_MISMATCH
    ios = appraised(authority, good(authority, inv_platform="ios"))
    check_owner(ios, replace(DEVICE, platform=Platform.IPADOS))
    assert refused(ios, DEVICE) is RejectionCode.PLATFORM_MISMATCH


def test_a_token_of_many_apps_fits(authority: AttestationAuthority) -> None:
    """Four times the apps of a well-used phone."""
    apps = [App(id=f"com.example.department{i}.application", version=f"{i}.2.3") for i in range(1000)]
    token = authority.token("ph-001", apps, new_nonce(), AUDIENCE, NOW)

    assert len(appraised(authority, token).result.apps) == 1000


@given(st.binary(max_size=300))
def test_arbitrary_octets_are_refused(authority: AttestationAuthority, octets: bytes) -> None:
    """And raise nothing else."""
    with pytest.raises(EvidenceRejected):
        appraised(authority, octets)


# Some flips make certificates that the library still loads with a warning.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=300)
@given(st.data())
def test_a_flipped_bit_refuses_the_token(authority: AttestationAuthority, genuine: str, data: st.DataObject) -> None:
    """Whichever bit of a genuine token it is."""
    octets = bytearray(genuine.encode())
    bit = data.draw(st.integers(0, len(octets) * 8 - 1))
    octets[bit // 8] ^= 1 << bit % 8

    with pytest.raises(EvidenceRejected):
        appraised(authority, bytes(octets))


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=200)
@given(st.data())
def test_a_changed_certificate_raises_nothing_else(authority: AttestationAuthority, data: st.DataObject) -> None:
    """Certificates are the hardest format here: any octet of the leaf may be another."""
    der = bytearray(authority.leaf("ph-001").certificate.public_bytes(serialization.Encoding.DER))
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] = data.draw(st.integers(0, 255).filter(lambda octet: octet != der[at]))

    with pytest.raises(EvidenceRejected):
        appraised(authority, good(authority, header={"x5c": [base64.b64encode(der).decode("ascii")], "x5t#S256": OMIT}))


def test_a_certificate_has_one_form(authority: AttestationAuthority) -> None:
    """Of a signature whose last bit is 0 it may be said that this bit is unused: it would be verified all the same."""
    device = next(
        name
        for name in (f"ph-{number}" for number in range(100, 200))
        if not authority.leaf(name).certificate.signature[-1] & 1
    )
    certificate = authority.leaf(device).certificate
    der = bytearray(certificate.public_bytes(serialization.Encoding.DER))
    der[-len(certificate.signature) - 1] = 1
    changed = {"x5c": [base64.b64encode(der).decode("ascii")], "x5t#S256": OMIT}
    with pytest.raises(EvidenceRejected, match="not of whole octets"):
        appraised(authority, good(authority, header=changed))


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "iat",
                "exp",
                "aud",
                "jti",
                "eat_nonce",
                "sueids",
                "sub",
                "inv_scope",
                "inv_complete",
                "measurements",
                "nbf",
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=4,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_claims_of_any_type_raise_nothing_else(authority: AttestationAuthority, overrides: dict[str, object]) -> None:
    """Genuinely signed nonsense is appraised or refused."""
    try:
        found = appraised(authority, good(authority, **overrides))
    except EvidenceRejected:
        return
    assert isinstance(found, Appraised)


def test_instants_are_utc(authority: AttestationAuthority) -> None:
    """Whatever zone the machine is in."""
    assert appraised(authority, good(authority)).exp.tzinfo is UTC


def test_the_account_is_named_as_configured(authority: AttestationAuthority) -> None:
    """A short name is the owner's where a domain is configured."""
    token = good(authority, sub="Kim").encode()
    names = IdentitySettings(default_domain="example.com")
    found = appraise(token, issuers=[authority.issuer()], audience=AUDIENCE, now=NOW, names=names)
    assert found.account == "kim@example.com"


def test_what_a_token_says_of_the_device(authority: AttestationAuthority) -> None:
    """The system, the boot and the debugger, each optional."""
    token = good(authority, inv_os_version="14", oemboot=False, dbgstat="enabled")
    result = appraised(authority, token).result
    assert result.os_version == "14"
    assert result.flags == {DeviceFlag.UNVERIFIED_BOOT: True, DeviceFlag.DEBUGGABLE: True}
    sound = appraised(authority, good(authority, oemboot=True, dbgstat="disabled-permanently")).result
    assert (sound.os_version, set(sound.flags.values())) == (None, {False})
    silent = appraised(authority, good(authority, oemboot=OMIT, dbgstat=OMIT)).result
    assert silent.flags == {}


@pytest.mark.parametrize(
    "claim",
    [{"inv_os_version": ""}, {"inv_os_version": 14}, {"oemboot": "yes"}, {"dbgstat": 0}, {"dbgstat": ["enabled"]}],
)
def test_a_wrong_word_on_the_device_is_refused(authority: AttestationAuthority, claim: dict[str, object]) -> None:
    """Rather than read as silence."""
    assert code(authority, good(authority, **claim)) is RejectionCode.MALFORMED
