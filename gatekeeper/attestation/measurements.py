"""The apps in signed evidence: one measured component (RFC 10013) per app, as JSON text (content format 296).

INVARIANT: a list is read whole or not at all. A component with a key that is not known here is refused, as the RFC
asks of consumers, rather than half understood.
"""

from gatekeeper.attestation.bounds import MAX_APPS, MAX_VERSION_LENGTH, flaw, name_flaw
from gatekeeper.attestation.jws import from_base64url
from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.attestation.strict_json import Json, NotStrictJson, loads
from gatekeeper.domain.app import App, AppList

MEASURED_COMPONENT_JSON = 296
"""CoAP content format of `application/measured-component+json`."""
_CBOR_FORMATS = {258: "application/swid+cbor", 295: "application/measured-component+cbor"}
_MEMBERS = frozenset({"id", "digested-measurement", "raw-measurement", "authorities"})
_SHA256_OCTETS = 32
_MAX_AUTHORITIES = 16


def read_apps(measurements: Json) -> AppList:
    """The apps of a `measurements` claim. Raises `EvidenceRejected`."""
    if not isinstance(measurements, list):
        raise _malformed("measurements must be an array")
    if not measurements:
        raise EvidenceRejected(RejectionCode.INCOMPLETE, "measurements is empty: the evidence lists nothing")
    if len(measurements) > MAX_APPS:
        raise EvidenceRejected(RejectionCode.TOO_LARGE, f"measurements lists more than {MAX_APPS} apps")
    return AppList(_app(entry, f"measurements[{index}]") for index, entry in enumerate(measurements))


def _app(entry: Json, place: str) -> App:
    component = _component(entry, place)
    if not component.keys() <= _MEMBERS:
        raise _malformed(f"{place}: the profile allows only {', '.join(sorted(_MEMBERS))}")
    _check_measurement(component, place)
    name, version = _id(component.get("id"), place)
    return App(id=name, version=version, signer_sha256=_signers(component, place))


def _component(entry: Json, place: str) -> dict[str, Json]:
    match entry:
        case [int(content_format), _] if content_format in _CBOR_FORMATS:
            detail = f"{place}: {_CBOR_FORMATS[content_format]} ({content_format}) is not read, send 296 (JSON)"
            raise EvidenceRejected(RejectionCode.UNSUPPORTED, detail)
        case [int(content_format), str(body)] if content_format == MEASURED_COMPONENT_JSON:
            return _object(body, place)
    raise _malformed(f"{place}: must be [{MEASURED_COMPONENT_JSON}, JSON text]")


def _object(body: str, place: str) -> dict[str, Json]:
    try:
        component = loads(body.encode("utf-8"))
    except NotStrictJson as exc:
        raise _malformed(f"{place}: {exc}") from exc
    except UnicodeEncodeError as exc:
        raise _malformed(f"{place}: contains half a character") from exc
    if not isinstance(component, dict):
        raise _malformed(f"{place}: must be an object")
    return component


def _check_measurement(component: dict[str, Json], place: str) -> None:
    """Exactly one of the two kinds; the digest is checked for its form only, there is nothing to compare it with."""
    if ("digested-measurement" in component) == ("raw-measurement" in component):
        raise _malformed(f"{place}: needs either digested-measurement or raw-measurement")
    if "raw-measurement" in component:
        raw = component["raw-measurement"]
        if not isinstance(raw, str) or from_base64url(raw) is None:
            raise _malformed(f"{place}: raw-measurement must be base64url")
        return
    match component["digested-measurement"]:
        case [bool(), _]:  # Python's True equals 1
            pass
        case [(1 | "sha-256"), digest] if _is_sha256(digest):
            return
    raise _malformed(f"{place}: digested-measurement must be [1, SHA-256 as base64url]")


def _is_sha256(value: Json) -> bool:
    return isinstance(value, str) and len(from_base64url(value) or b"") == _SHA256_OCTETS


def _id(value: Json, place: str) -> tuple[str, str | None]:
    match value:
        case [str(name)]:
            _check(name_flaw(name), f"{place}: the name in id")
            return name, None
        case [str(name), [str(version)] | [str(version), int() | str()]]:
            # A version scheme is not kept: rules compare versions by their own terms.
            _check(name_flaw(name), f"{place}: the name in id")
            _check(flaw(version, MAX_VERSION_LENGTH), f"{place}: the version in id")
            return name, version
    raise _malformed(f"{place}: id must be [name, [version, scheme]]")


def _check(problem: str | None, subject: str) -> None:
    if problem:
        raise _malformed(f"{subject} {problem}")


def _signers(component: dict[str, Json], place: str) -> tuple[str, ...]:
    """`authorities` of our profile: the SHA-256 of the app's signing certificates."""
    if "authorities" not in component:
        return ()
    values = component["authorities"]
    if not isinstance(values, list) or not 1 <= len(values) <= _MAX_AUTHORITIES:
        raise _malformed(f"{place}: authorities must hold 1 to {_MAX_AUTHORITIES} digests")
    if not all(map(_is_sha256, values)):
        raise _malformed(f"{place}: authorities must hold SHA-256 digests as base64url")
    return tuple((from_base64url(str(value)) or b"").hex() for value in values)


def _malformed(detail: str) -> EvidenceRejected:
    return EvidenceRejected(RejectionCode.MALFORMED, detail)
