"""Reading `gatekeeper.toml`: environment over file over default, and every fault at once.

Any key can be set as `GATEKEEPER_SECTION__KEY`; the value is read as TOML where it can be, else as a text. A secret can
stand in a file of its own, named by `<key>_file`: `store.url`, and `service_password` of an upstream, which must not
stand in the document itself.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from gatekeeper.config.sections import DEFAULT_POLICY_FILE, DEFAULT_STATE_DIRECTORY, read_settings
from gatekeeper.config.sections.identity import read_names
from gatekeeper.config.settings import Settings
from gatekeeper.domain.document import DocumentError, Fault, Table, parse_toml
from gatekeeper.domain.identity import IdentitySettings

ENVIRONMENT_PREFIX = "GATEKEEPER_"
CONFIG_VARIABLE = "GATEKEEPER_CONFIG"
MAX_OCTETS = 1_048_576
_PASSWORD = "service_password"  # noqa: S105  the name of a key


def load(path: Path, environment: Mapping[str, str]) -> Settings:
    """Read and check the configuration; raises `DocumentError` with all of its faults."""
    source = str(path)
    document = _document(path, source)
    faults: list[Fault] = []
    _refuse_passwords(document, source, faults)
    _override(document, environment, faults)
    _secrets_from_files(document, source, faults)
    settings = read_settings(Table(document, source=source, faults=faults), source)
    if faults:
        raise DocumentError(faults)
    return settings


def state_directory(path: Path, environment: Mapping[str, str]) -> Path:
    """Where the running process keeps its control socket, told even when the rest of the configuration is broken."""
    return _path(path, environment, "server", "state_directory", DEFAULT_STATE_DIRECTORY)


def policy_file(path: Path, environment: Mapping[str, str]) -> Path | None:
    """Where the policy is, told even when the rest of the configuration is broken; None: it cannot be read at all."""
    try:
        _document(path, str(path))
    except DocumentError:
        return None
    return _path(path, environment, "policy", "file", DEFAULT_POLICY_FILE)


def names(path: Path, environment: Mapping[str, str]) -> IdentitySettings:
    """How names are made canonical, told even when the rest of the configuration is broken, or is not there.

    Raises `DocumentError` when it is just that part which is broken: names must not be guessed at.
    """
    document = _document(path, str(path)) if path.is_file() else {}
    faults: list[Fault] = []
    _override(document, environment, [])
    found = read_names(Table(document, source=str(path), faults=faults).table("identity"))
    if faults:
        raise DocumentError(faults)
    return found


def _path(path: Path, environment: Mapping[str, str], section: str, key: str, default: str) -> Path:
    try:
        document = _document(path, str(path))
    except DocumentError:
        document = {}
    _override(document, environment, [])
    table = document.get(section)
    value = table.get(key) if isinstance(table, dict) else None
    return Path(value if isinstance(value, str) else default)


def _document(path: Path, source: str) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_OCTETS + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = error.strerror if isinstance(error, OSError) else str(error)
        reason = f"cannot be read: {why} (name another with --config or $GATEKEEPER_CONFIG)"
        raise DocumentError([Fault(source, "", reason)]) from error
    return parse_toml(data, source, MAX_OCTETS)


def _override(document: dict[str, object], environment: Mapping[str, str], faults: list[Fault]) -> None:
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_VARIABLE or "__" not in variable:
            continue
        *sections, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        table = document
        for section in sections:
            below = table.setdefault(section, {})
            if not isinstance(below, dict):
                faults.append(Fault("environment", variable, f"`{section}` is not a table, which cannot be set so"))
                break
            table = below
        else:
            table[key] = environment[variable] if key == _PASSWORD else _value(environment[variable])
            table.pop(f"{key}_file", None)  # the environment's value also beats a file that the document names


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _refuse_passwords(document: dict[str, object], source: str, faults: list[Fault]) -> None:
    """What everybody may read who may read the configuration is no secret."""
    for name, table in _upstreams(document):
        if table.pop(_PASSWORD, None) is not None:
            reason = f"must not stand here: name a file in {_PASSWORD}_file, or set it in the environment"
            faults.append(Fault(source, f"{name}.{_PASSWORD}", reason))


def _secrets_from_files(document: dict[str, object], source: str, faults: list[Fault]) -> None:
    store = document.get("store")
    if isinstance(store, dict):
        _from_file(store, "store", "url", (source, faults))
    for name, table in _upstreams(document):
        _from_file(table, name, _PASSWORD, (source, faults))


def _upstreams(document: dict[str, object]) -> list[tuple[str, dict[str, object]]]:
    upstreams = document.get("upstream")
    tables = upstreams.items() if isinstance(upstreams, dict) else ()
    return [(f"upstream.{name}", table) for name, table in tables if isinstance(table, dict)]


def _from_file(table: dict[str, object], place: str, key: str, found: tuple[str, list[Fault]]) -> None:
    """Put a secret in its place; `found`: the document's name, and the faults found in it."""
    path = table.get(f"{key}_file")
    if not isinstance(path, str):
        return
    del table[f"{key}_file"]
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_OCTETS).decode()
        table[key] = text.rstrip("\r\n") if key == _PASSWORD else text.strip()
    except (OSError, UnicodeDecodeError) as error:
        source, faults = found
        faults.append(Fault(source, f"{place}.{key}_file", f"`{path}` cannot be read: {error}"))
