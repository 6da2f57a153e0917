"""A bundle: one version of the policy as one file, with the signed statement about it.

The file is a tar of the policy's files and `statement.note`, in one canonical form: any octets give a `Bundle` that
encodes to the very same octets, or a `BundleError`. The statement is a signed note (`signing.note`) of these lines:

    <origin>                      whose policy
    <version>                     a whole number, rises with every bundle
    sha256:<hex>                  of the lines `<hex>  <name>` of all files, as `sha256sum` prints them, by name
    author <name>                 who wrote it, and so cannot approve it
    created <RFC 3339, UTC>
    reason <one line>

Files are addressed by what is in them: the same files under another version have the same digest.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

from gatekeeper.signing.note import Note, NoteError, Signature, parse_note

POLICY_FILE = "policy.toml"
MAX_BUNDLE_OCTETS = 9 * 1024 * 1024
"""A policy of 4 MiB, a file of groups of the same size, and room for statements."""
MAX_FILES = 16
MAX_VERSION = 10**9
MAX_REASON = 300

_STATEMENT = "statement.note"
_OVERRIDE = "override.note"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_LINES = ("author", "created", "reason")


class BundleError(ValueError):
    """Octets that are no bundle, or facts that cannot be in one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What approvers sign."""

    origin: str
    version: int
    digest: str
    """SHA-256 of the content, lower-case hex."""
    author: str
    created: datetime
    """Aware UTC, whole seconds."""
    reason: str

    def __post_init__(self) -> None:
        if not 1 <= self.version <= MAX_VERSION:
            raise BundleError(f"a version lies between 1 and {MAX_VERSION}")
        for name, value, limit in (("origin", self.origin, 128), ("author", self.author, 128)):
            if not 0 < len(value) <= limit or not value.isprintable() or " " in value:
                raise BundleError(f"the {name} must be one word of at most {limit} characters")
        if (
            not 0 < len(self.reason) <= MAX_REASON
            or not self.reason.isprintable()
            or self.reason != self.reason.strip()
        ):
            raise BundleError(f"the reason must be one line of at most {MAX_REASON} characters")

    @property
    def text(self) -> str:
        """The note's text."""
        created = self.created.strftime("%Y-%m-%dT%H:%M:%SZ")
        lines = [self.origin, str(self.version), f"sha256:{self.digest}"]
        lines += [f"author {self.author}", f"created {created}", f"reason {self.reason}"]
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The statement, its signatures, and the files; nothing of it is to be believed before `approval.approve`."""

    statement: Statement
    signatures: tuple[Signature, ...] = ()
    files: Mapping[str, bytes]
    override: Note | None = None
    """A second approver's word that it may be published though it blocks more people than is allowed (`breaker`)."""

    @property
    def note(self) -> Note:
        """The statement with its signatures."""
        return Note(self.statement.text, self.signatures)

    def with_note(self, note: Note) -> "Bundle":
        """The bundle with the signatures of a note about the same statement."""
        if note.text != self.statement.text:
            raise BundleError("that note is about another bundle")
        return replace(self, signatures=note.signatures)

    def encode(self) -> bytes:
        """The one form of the file."""
        members = {_STATEMENT: self.note.encode(), **self.files}
        if self.override is not None:
            members[_OVERRIDE] = self.override.encode()
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name in sorted(members):
                member = tarfile.TarInfo(name)
                member.size = len(members[name])
                archive.addfile(member, io.BytesIO(members[name]))
        return buffer.getvalue()


def build(files: Mapping[str, bytes], *, origin: str, version: int, author: str, reason: str, now: datetime) -> Bundle:
    """A bundle that nobody has signed yet; raises BundleError."""
    _check_files(files)
    statement = Statement(
        origin=origin,
        version=version,
        digest=content_digest(files),
        author=author,
        created=now.astimezone(UTC).replace(microsecond=0),
        reason=reason,
    )
    return Bundle(statement=statement, files=MappingProxyType(dict(files)))


def content_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over what `sha256sum` prints of the files, sorted by name."""
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def parse_bundle(data: bytes) -> Bundle:
    """The bundle in `data`; raises BundleError. Whether it is approved is another question."""
    if len(data) > MAX_BUNDLE_OCTETS:
        raise BundleError(f"larger than {MAX_BUNDLE_OCTETS} octets")
    members = _members(data)
    try:
        note = parse_note(members.pop(_STATEMENT, b""))
        override = parse_note(members.pop(_OVERRIDE)) if _OVERRIDE in members else None
    except NoteError as error:
        raise BundleError(f"its statement {error}") from error
    _check_files(members)
    statement = parse_statement(note.text)
    if statement.digest != content_digest(members):
        raise BundleError("its files are not those that its statement is about")
    bundle = Bundle(statement=statement, signatures=note.signatures, files=MappingProxyType(members), override=override)
    if bundle.encode() != data:
        raise BundleError("is not in the one form that bundles have: was it cut, or packed by another program?")
    return bundle


def parse_statement(text: str) -> Statement:
    """The statement that a note's text makes; raises BundleError."""
    *lines, end = text.split("\n")
    if end or len(lines) != 3 + len(_LINES):
        raise BundleError("its statement does not have the lines that a statement has")
    origin, version, digest = lines[:3]
    values = []
    for name, line in zip(_LINES, lines[3:], strict=True):
        if not line.startswith(f"{name} "):
            raise BundleError(f"its statement has no line `{name}`")
        values.append(line.removeprefix(f"{name} "))
    author, created, reason = values
    if not re.fullmatch(r"[1-9][0-9]{0,9}", version, re.ASCII):
        raise BundleError("its version is not a whole number")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest, re.ASCII):
        raise BundleError("its digest is not `sha256:` and 64 hexadecimal digits")
    try:
        instant = datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise BundleError("its time is not one such as 2026-12-01T09:00:00Z") from error
    statement = Statement(
        origin=origin,
        version=int(version),
        digest=digest.removeprefix("sha256:"),
        author=author,
        created=instant,
        reason=reason,
    )
    if statement.text != text:
        raise BundleError("its statement is not in the one form that statements have")
    return statement


def _members(data: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                # A sparse member may claim any size: what it says it holds would be made in memory.
                is_plain = member.isreg() and not member.issparse() and member.size <= len(data)
                content = archive.extractfile(member) if is_plain else None
                if content is None or member.name in found or len(found) > MAX_FILES + 2:
                    raise BundleError("holds what a bundle does not hold")
                found[member.name] = content.read()
    except (tarfile.TarError, EOFError, ValueError, OverflowError, OSError) as error:
        raise BundleError(f"is not a bundle ({error})") from error
    return found


def _check_files(files: Mapping[str, bytes]) -> None:
    if POLICY_FILE not in files:
        raise BundleError(f"has no `{POLICY_FILE}`")
    if len(files) > MAX_FILES:
        raise BundleError(f"has more than {MAX_FILES} files")
    for name in files:
        if not _FILE_NAME.fullmatch(name) or name in (_STATEMENT, _OVERRIDE):
            raise BundleError(f"`{name}` cannot be the name of a file in a bundle")
    if sum(map(len, files.values())) > MAX_BUNDLE_OCTETS - 65_536 * 3:
        raise BundleError("its files are too large")
