"""Whether a bundle may come into force: approved by enough people besides its author, newer, a policy that compiles.

`approve` is the only way to an `Approved`, and everything that serves or publishes a bundle goes through it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gatekeeper.decision.policy import Policy
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.publishing.bundle import MAX_REASON, POLICY_FILE, Bundle, BundleError, Statement, parse_bundle
from gatekeeper.signing.note import Note, NoteError, VerifierKey, signed_by


class Flaw(StrEnum):
    """Why a bundle is refused; stable, a label of the metric and a fact in the audit log."""

    MALFORMED = "malformed"
    ORIGIN = "origin"
    SIGNATURE = "signature"
    VERSION = "version"
    SCHEMA = "schema"
    BREAKER = "breaker"
    UNREADABLE = "unreadable"


class Refused(Exception):
    """A bundle that must not come into force."""

    def __init__(self, flaw: Flaw, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.flaw = flaw
        self.reasons = reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvers:
    """Who must have signed."""

    origin: str
    threshold: int
    """How many of `keys`, not counting the author."""
    keys: tuple[VerifierKey, ...]
    authors: tuple[VerifierKey, ...] = ()
    """When given, the author must be one of them, and have signed; else the author is only who the bundle says."""


@dataclass(frozen=True, slots=True)
class Override:
    """A second approver's word that the breaker need not hold a bundle back."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """A bundle whose signatures were checked, with its policy."""

    bundle: Bundle
    policy: Policy
    approved_by: tuple[str, ...]
    """Names of the approvers' keys, in the order of the signatures."""
    override: Override | None = None

    @property
    def statement(self) -> Statement:
        """What was signed."""
        return self.bundle.statement


def approve(data: bytes, approvers: Approvers, names: IdentitySettings, *, above: int = 0) -> Approved:
    """The approved bundle in `data`, of a version higher than `above`; raises `Refused`."""
    try:
        bundle = parse_bundle(data)
    except BundleError as error:
        raise Refused(Flaw.MALFORMED, str(error)) from error
    approved_by = check_signatures(bundle, approvers)
    version = bundle.statement.version
    if version <= above:
        raise Refused(Flaw.VERSION, f"version {version} is not newer than version {above}: versions only rise")
    policy = compile_files(bundle.files, names, source=f"policy version {version}")
    override = check_override(bundle, approvers, approved_by)
    return Approved(bundle=bundle, policy=policy, approved_by=approved_by, override=override)


def check_signatures(bundle: Bundle, approvers: Approvers) -> tuple[str, ...]:
    """Names of the approvers whose signatures count; raises `Refused` when they are too few."""
    statement = bundle.statement
    if statement.origin != approvers.origin:
        raise Refused(Flaw.ORIGIN, f"it is of `{statement.origin}`, not of `{approvers.origin}`")
    try:
        signers = signed_by(bundle.note, approvers.keys)
        authors = signed_by(bundle.note, approvers.authors)
    except NoteError as error:
        raise Refused(Flaw.SIGNATURE, str(error)) from error
    if approvers.authors and all(key.name != statement.author for key in authors):
        raise Refused(Flaw.SIGNATURE, f"its author `{statement.author}` is not a known author who signed it")
    counted = _others(signers, approvers, statement)
    if len(counted) < approvers.threshold:
        found = ", ".join(counted) or "nobody"
        raise Refused(
            Flaw.SIGNATURE,
            f"approved by {found}; {approvers.threshold} approvers are needed besides its author `{statement.author}`",
        )
    return tuple(counted)


def override_note(statement: Statement, reason: str) -> Note:
    """What a second approver signs, with the reason, one line."""
    if not 0 < len(reason) <= MAX_REASON or not reason.isprintable() or reason != reason.strip():
        raise BundleError(f"the reason must be one line of at most {MAX_REASON} characters")
    lines = (statement.origin, f"override {statement.version}", f"sha256:{statement.digest}", f"reason {reason}")
    return Note("".join(f"{line}\n" for line in lines))


def check_override(bundle: Bundle, approvers: Approvers, approved_by: tuple[str, ...]) -> Override | None:
    """Who let the bundle pass the breaker, and why; None: nobody had to. Raises `Refused`.

    It takes an approver who is not the author, and together with those who approved the bundle at least two people.
    """
    note, statement = bundle.override, bundle.statement
    if note is None:
        return None
    reason = note.text.removesuffix("\n").rpartition("\nreason ")[2]
    try:
        if note.text != override_note(statement, reason).text:
            raise Refused(Flaw.SIGNATURE, "its override is about another bundle")
        signers = _others(signed_by(note, approvers.keys), approvers, statement)
    except (NoteError, BundleError) as error:
        raise Refused(Flaw.SIGNATURE, f"its override: {error}") from error
    if not signers or len({*signers, *approved_by}) < 2:
        raise Refused(Flaw.SIGNATURE, "its override is not signed by a second approver")
    second = next((name for name in signers if name not in approved_by), signers[0])
    return Override(second, reason)


def _others(signers: Iterable[VerifierKey], approvers: Approvers, statement: Statement) -> list[str]:
    """Names of the signers who are not the author, by whatever name the author's key may go."""
    own = {key.public for key in approvers.authors if key.name == statement.author}
    return [key.name for key in signers if key.name != statement.author and key.public not in own]


def compile_files(files: Mapping[str, bytes], names: IdentitySettings, *, source: str) -> Policy:
    """The policy that the files are; raises `Refused` with every fault."""
    try:
        return parse_policy(files[POLICY_FILE], source=source, names=names)
    except DocumentError as error:
        raise Refused(Flaw.SCHEMA, *map(str, error.faults)) from error
