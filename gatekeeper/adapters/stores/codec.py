"""An app list as compact text and back.

One JSON array an app, without what is missing at its end: `["com.example.mail","Mail","16.6.5"]`; the fourth is the
version code, the fifth the signers with a space between, the sixth the publisher, the seventh the installer. The same
app is on most phones, so equal apps are one object in memory, and reading one again is one look-up. Beside it: what a
result says of the device as a whole, as a JSON object.
"""

import json
import sys
from collections.abc import Collection
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import msgspec

from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.posture import AttestationResult, DeviceFlag

SHARED_APPS = 50_000
"""How many different apps are shared; the phones of a large company carry some ten thousand versions of apps."""

NO_APPS = "[]"
"""The text of an empty list."""

_shared: dict[tuple[object, ...], App] = {}
_kinds: dict[tuple[object, ...], str] = {}
_SOME = msgspec.json.Decoder(list[tuple[Any, ...]])


def encode_apps(apps: AppList) -> str:
    """The text of an app list."""
    return json.dumps([_row(app) for app in apps.apps], separators=(",", ":"))


def decode_apps(text: str) -> AppList:
    """The app list of a text that `encode_apps` made. Raises ValueError for any other text."""
    try:
        return AppList([_shared.get(key) or _share(key) for key in map(tuple, _rows(text))])
    except (TypeError, AttributeError, IndexError, RecursionError) as exc:
        raise ValueError("an app list on record does not have the expected shape") from exc


def decode_some(text: str, ids: Collection[str] | None) -> list[App]:
    """The apps with one of these ids, as reported; None: all. Most of a long list is then never made into apps.

    Raises ValueError for a text that `encode_apps` did not make.
    """
    try:
        rows = _SOME.decode(text)
        return [_shared.get(row) or _share(row) for row in rows if ids is None or row[0] in ids]
    except (msgspec.MsgspecError, TypeError, AttributeError, IndexError, RecursionError) as exc:
        raise ValueError("an app list on record does not have the expected shape") from exc


def encode_kind(app: App) -> str:
    """The text of an app without its version: what the index from apps to devices knows it by."""
    key = (app.id, app.name, app.signer_sha256, app.publisher, app.installer)
    text = _kinds.get(key)
    if text is None:
        if len(_kinds) >= SHARED_APPS:
            _kinds.clear()
        text = _kinds[key] = json.dumps(_row(replace(app, version=None, version_code=None)), separators=(",", ":"))
    return text


def decode_kind(text: str) -> App:
    """The app, without a version, of a text that `encode_kind` made."""
    return _share(tuple(json.loads(text)))


def encode_stated(result: AttestationResult) -> str | None:
    """The text of what a result says of the device as a whole; None when it says nothing."""
    stated: dict[str, object] = {} if result.os_version is None else {"os_version": result.os_version}
    stated |= {flag.value: result.flags[flag] for flag in sorted(result.flags)}
    return json.dumps(stated, separators=(",", ":")) if stated else None


def with_stated(result: AttestationResult, text: str | None) -> AttestationResult:
    """The result with what `encode_stated` made a text of. Raises ValueError for any other text."""
    if text is None:
        return result
    stated = json.loads(text)
    if not isinstance(stated, dict):
        raise ValueError("the facts on record of a device do not have the expected shape")  # noqa: TRY004  as documented
    os_version = stated.pop("os_version", None)
    flags = {DeviceFlag(name): bool(value) for name, value in stated.items()}
    return replace(result, os_version=os_version, flags=MappingProxyType(flags))


def _rows(text: str) -> list[list[object]]:
    rows = json.loads(text)
    # An object or a text would be taken apart as well, and pass for apps that nobody has.
    if type(rows) is not list or any(type(row) is not list for row in rows):
        raise TypeError("not a list of lists")
    return rows


def _row(app: App) -> list[object]:
    signers = " ".join(app.signer_sha256) or None
    row: list[object] = [app.id, app.name, app.version, app.version_code, signers, app.publisher, app.installer]
    while row[-1] is None:
        row.pop()
    return row


def _share(row: tuple[object, ...]) -> App:
    if len(_shared) >= SHARED_APPS:
        _shared.clear()
    padded = (*row, None, None, None, None, None, None)
    if not all(isinstance(text, str | None) for text in (padded[1], padded[2], padded[5], padded[6])):
        raise TypeError("a name, version, publisher or installer is no text")
    if not isinstance(padded[3], int | None):
        raise TypeError("a version code is no number")
    app = App(
        id=sys.intern(cast("str", row[0])),
        name=cast("str | None", padded[1]),
        version=cast("str | None", padded[2]),
        version_code=padded[3],
        signer_sha256=tuple(map(sys.intern, cast("str", padded[4] or "").split())),
        publisher=cast("str | None", padded[5]),
        installer=cast("str | None", padded[6]),
    )
    _shared[row] = app
    return app
