"""Appraisal of signed evidence: an Entity Attestation Token (RFC 9711) of our app inventory profile, as a JWT.

The profile in short: one audience; integers for times; lives at most 15 minutes; carries the nonce that was issued to
the device; names the device by its certificate and by a pseudonym (`sueids`) or a `ueid` that is no IMEI; says what the
list could see, whether it is whole, and when it was collected; carries no location. Claims beyond that are ignored.

INVARIANT: `appraise` returns or raises `EvidenceRejected`, whatever the bytes are. What needs memory of earlier tokens
(nonce issued and unused, token id not seen, not older than on record) is the registry's to check, with what
`Appraised` carries.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from gatekeeper.attestation import chain, jws
from gatekeeper.attestation.bounds import CLOCK_SKEW, MAX_VERSION_LENGTH, flaw
from gatekeeper.attestation.chain import Leaf
from gatekeeper.attestation.issuer import Issuer
from gatekeeper.attestation.measurements import read_apps
from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.attestation.strict_json import Json, NotStrictJson, loads
from gatekeeper.domain.device import APPLE_MOBILE, Device, DeviceId, Platform
from gatekeeper.domain.identity import DEFAULT, IdentitySettings, canonical_account
from gatekeeper.domain.posture import AttestationResult, DeviceFlag, Scope

PROFILE = "tag:gatekeeper.example,2026:app-inventory/1"
MEDIA_TYPE = "application/eat+jwt"
MAX_LIFETIME = timedelta(minutes=15)
NONCE_OCTETS = 32

_DEBUG_STATES = ("enabled", "disabled", "disabled-since-boot", "disabled-permanently", "disabled-fully-and-permanently")
_SUEID_LABEL = "gatekeeper"
_UEID_IMEI = 0x03
_UEID_OCTETS = range(7, 34)
_JTI_LENGTH = range(16, 65)
_LAST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraised:
    """Evidence that is genuine, fresh and of the profile; not yet compared with what is on record."""

    device_id: DeviceId
    """From the certificate."""
    account: str | None
    """From `sub`, canonical; None when the token names no account."""
    platform: Platform
    result: AttestationResult
    jti: str
    exp: datetime
    nonce_digest: bytes
    """SHA-256 of the nonce's text, as the registry keeps it."""

    @property
    def evidence_sha256(self) -> str:
        """Lower-case hex of the token's octets."""
        return self.result.evidence_sha256

    @property
    def replay_until(self) -> datetime:
        """How long `jti` has to be remembered: until the token would be refused for its age."""
        return self.exp + CLOCK_SKEW


def appraise(
    token: bytes, *, issuers: Sequence[Issuer], audience: str, now: datetime, names: IdentitySettings = DEFAULT
) -> Appraised:
    """Verify and read a token; `names` say how its account is made canonical. Raises `EvidenceRejected`."""
    envelope = jws.parse(token)
    issuer, leaf = _trusted(envelope, issuers, now)
    claims = _claims(jws.open_payload(envelope, leaf.key))
    if claims.get("eat_profile") != PROFILE:
        _reject(RejectionCode.PROFILE_UNKNOWN, f"eat_profile is not {PROFILE}")
    if claims.get("aud") != audience:
        _reject(RejectionCode.AUD_MISMATCH, "aud is not this gatekeeper's audience")
    issued, expires = _lifetime(claims, now)
    # The chain held now; it must also have held when the token was made.
    chain.verify(envelope.certificates, issuer, at=issued)
    _check_prohibited(claims)
    _check_pseudonym(claims)
    result = AttestationResult(
        source=issuer.name,
        scope=_scope(claims, issuer),
        complete=_boolean(claims, "inv_complete"),
        collected_at=_collected_at(claims, issued, issuer, now),
        evidence_sha256=hashlib.sha256(token).hexdigest(),
        apps=read_apps(claims.get("measurements", [])),
        os_version=_os_version(claims),
        flags=_flags(claims),
    )
    return Appraised(
        device_id=leaf.device_id,
        account=_account(claims, names),
        platform=_platform(claims),
        result=result,
        jti=_jti(claims),
        exp=expires,
        nonce_digest=_nonce_digest(claims),
    )


def check_owner(appraised: Appraised, device: Device) -> None:
    """Check that evidence fits the registered device: its id, its owner, its platform. Raises `EvidenceRejected`."""
    if appraised.device_id != device.device_id:
        _reject(RejectionCode.DEVICE_UNKNOWN, "the certificate names another device")
    if appraised.account not in (None, device.account):
        _reject(RejectionCode.OWNER_MISMATCH, "sub is not the account that the device is registered to")
    # A list for another platform would slip past every rule that names this one. iPhone and iPad software reports
    # `ios` for both at times, and the same rules are meant for both.
    if appraised.platform is not device.platform and not {appraised.platform, device.platform} <= APPLE_MOBILE:
        _reject(RejectionCode.PLATFORM_MISMATCH, "inv_platform is not the platform that the device is registered with")


def _trusted(envelope: jws.Envelope, issuers: Sequence[Issuer], now: datetime) -> tuple[Issuer, Leaf]:
    """The issuer whose CA vouches for the certificates now, and the leaf's facts."""
    rejection = EvidenceRejected(RejectionCode.CHAIN_INVALID, "no issuer of signed evidence is configured")
    for issuer in issuers:
        try:
            leaf = chain.verify(envelope.certificates, issuer, at=now)
        except EvidenceRejected as exc:
            rejection = exc
            continue
        if envelope.algorithm not in issuer.algorithms:
            _reject(RejectionCode.SIG_INVALID, f"the issuer may not sign with {envelope.algorithm}")
        return issuer, leaf
    raise rejection


def _claims(payload: bytes) -> dict[str, Json]:
    try:
        claims = loads(payload)
    except NotStrictJson as exc:
        raise EvidenceRejected(RejectionCode.MALFORMED, f"the payload is {exc}") from exc
    if not isinstance(claims, dict):
        _reject(RejectionCode.MALFORMED, "the payload is not an object")
    return claims


def _lifetime(claims: dict[str, Json], now: datetime) -> tuple[datetime, datetime]:
    """`iat` and `exp`, in force at `now`."""
    issued, expires = _instant(claims, "iat"), _instant(claims, "exp")
    if not timedelta(0) < expires - issued <= MAX_LIFETIME:
        _reject(RejectionCode.MALFORMED, "exp must follow iat by at most 15 minutes")
    if issued > now + CLOCK_SKEW:
        _reject(RejectionCode.NOT_YET_VALID, "iat lies in the future")
    if "nbf" in claims and _instant(claims, "nbf") > now + CLOCK_SKEW:
        _reject(RejectionCode.NOT_YET_VALID, "nbf lies in the future")
    if now >= expires + CLOCK_SKEW:
        _reject(RejectionCode.STALE, "the token has expired")
    return issued, expires


def _collected_at(claims: dict[str, Json], issued: datetime, issuer: Issuer, now: datetime) -> datetime:
    collected = _instant(claims, "inv_collected_at")
    if collected > issued:
        _reject(RejectionCode.MALFORMED, "inv_collected_at must not follow iat")
    if collected < now - issuer.max_age:
        _reject(RejectionCode.STALE, "the list was collected too long ago")
    return collected


def _check_prohibited(claims: dict[str, Json]) -> None:
    if "location" in claims:
        _reject(RejectionCode.CLAIM_PROHIBITED, "location is not accepted")
    if "measres" in claims:
        _reject(RejectionCode.UNSUPPORTED, "measres (answers to a query) is not read, send measurements")


def _check_pseudonym(claims: dict[str, Json]) -> None:
    """Exactly one of `ueid` and `sueids`, and never an IMEI, which follows a person for years."""
    if ("ueid" in claims) == ("sueids" in claims):
        _reject(RejectionCode.MALFORMED, "needs either ueid or sueids")
    value = claims.get("ueid")
    if "sueids" in claims:
        labelled = claims["sueids"]
        value = labelled.get(_SUEID_LABEL) if isinstance(labelled, dict) else None
    octets = jws.from_base64url(value) if isinstance(value, str) else None
    if octets is None or len(octets) not in _UEID_OCTETS:
        _reject(RejectionCode.MALFORMED, "ueid, or sueids.gatekeeper, must be 7 to 33 octets as base64url")
    if octets[0] == _UEID_IMEI:
        _reject(RejectionCode.CLAIM_PROHIBITED, "a ueid made of the IMEI is not accepted")


def _scope(claims: dict[str, Json], issuer: Issuer) -> Scope:
    value = claims.get("inv_scope")
    if not isinstance(value, str) or value not in frozenset(Scope):
        _reject(RejectionCode.MALFORMED, f"inv_scope must be one of {', '.join(Scope)}")
    scope = Scope(value)
    if scope is Scope.QUERY:
        _reject(RejectionCode.UNSUPPORTED, "answers to a query (inv_scope) are not read, send a list")
    if scope not in issuer.scopes:
        _reject(RejectionCode.SCOPE_INSUFFICIENT, f"a list of scope {scope} is not accepted from this issuer")
    return scope


def _os_version(claims: dict[str, Json]) -> str | None:
    if "inv_os_version" not in claims:
        return None
    value = claims["inv_os_version"]
    if not isinstance(value, str) or flaw(value, MAX_VERSION_LENGTH):
        _reject(RejectionCode.MALFORMED, f"inv_os_version must be a text of at most {MAX_VERSION_LENGTH} characters")
    return value


def _flags(claims: dict[str, Json]) -> dict[DeviceFlag, bool]:
    """`oemboot` (RFC 9711 §4.2.8) and `dbgstat` (§4.2.9), both optional."""
    flags = {}
    if "oemboot" in claims:
        flags[DeviceFlag.UNVERIFIED_BOOT] = not _boolean(claims, "oemboot")
    if "dbgstat" in claims:
        state = claims["dbgstat"]
        if state not in _DEBUG_STATES:
            _reject(RejectionCode.MALFORMED, f"dbgstat must be one of {', '.join(_DEBUG_STATES)}")
        flags[DeviceFlag.DEBUGGABLE] = state == _DEBUG_STATES[0]
    return flags


def _platform(claims: dict[str, Json]) -> Platform:
    value = claims.get("inv_platform")
    if not isinstance(value, str) or value not in frozenset(Platform):
        _reject(RejectionCode.MALFORMED, f"inv_platform must be one of {', '.join(Platform)}")
    return Platform(value)


def _account(claims: dict[str, Json], names: IdentitySettings) -> str | None:
    if "sub" not in claims:
        return None
    value = claims["sub"]
    account = canonical_account(value, names) if isinstance(value, str) else None
    if account is None:
        _reject(RejectionCode.MALFORMED, "sub is not a mail login")
    return account


def _jti(claims: dict[str, Json]) -> str:
    value = claims.get("jti")
    if not isinstance(value, str) or len(value) not in _JTI_LENGTH or not (value.isascii() and value.isprintable()):
        _reject(RejectionCode.MALFORMED, "jti must be 16 to 64 printable ASCII characters")
    return value


def _nonce_digest(claims: dict[str, Json]) -> bytes:
    value = claims.get("eat_nonce")
    octets = jws.from_base64url(value) if isinstance(value, str) else None
    if not isinstance(value, str) or octets is None or len(octets) != NONCE_OCTETS:
        _reject(RejectionCode.NONCE_INVALID, "eat_nonce must be the one nonce that was issued, 32 octets as base64url")
    return hashlib.sha256(value.encode("ascii")).digest()


def _instant(claims: dict[str, Json], name: str) -> datetime:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < _LAST_SECOND:
        _reject(RejectionCode.MALFORMED, f"{name} must be whole seconds since 1970")
    return datetime.fromtimestamp(value, UTC)


def _boolean(claims: dict[str, Json], name: str) -> bool:
    value = claims.get(name)
    if not isinstance(value, bool):
        _reject(RejectionCode.MALFORMED, f"{name} must be true or false")
    return value


def _reject(code: RejectionCode, detail: str) -> NoReturn:
    raise EvidenceRejected(code, detail)
