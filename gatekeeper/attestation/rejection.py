"""Why evidence was not accepted: a closed list of codes, and the exception that carries one."""

from enum import StrEnum


class RejectionCode(StrEnum):
    """Stable names, part of the HTTP answer and of the audit record."""

    MALFORMED = "malformed"
    """Not a token of the profile: wrong structure, wrong types, limits of single values."""
    UNSUPPORTED = "unsupported"
    """Well formed, but a form of evidence that is not read here."""
    TOO_LARGE = "too-large"
    PROFILE_UNKNOWN = "profile-unknown"
    SIG_INVALID = "sig-invalid"
    """The signature, or the algorithm and key it was made with."""
    CHAIN_INVALID = "chain-invalid"
    """The certificates: trust, use, validity, revocation, device name."""
    AUD_MISMATCH = "aud-mismatch"
    STALE = "stale"
    """Expired, or collected too long ago."""
    NOT_YET_VALID = "not-yet-valid"
    """Dated in the future by more than the clocks may differ."""
    REPLAY = "replay"
    NONCE_INVALID = "nonce-invalid"
    NONCE_EXPIRED = "nonce-expired"
    INCOMPLETE = "incomplete"
    """Lists nothing: neither an app nor an answer."""
    SCOPE_INSUFFICIENT = "scope-insufficient"
    """The issuer is not trusted for lists of this scope."""
    CLAIM_PROHIBITED = "claim-prohibited"
    """Carries personal data that the profile forbids (location, IMEI)."""
    DEVICE_UNKNOWN = "device-unknown"
    OWNER_MISMATCH = "owner-mismatch"
    PLATFORM_MISMATCH = "platform-mismatch"
    RATE_LIMITED = "rate-limited"


class EvidenceRejected(Exception):
    """Evidence was not accepted and changed nothing."""

    def __init__(self, code: RejectionCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        """One line for people. Holds no secret and no app; text from outside only after cleaning."""
