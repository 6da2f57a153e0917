"""Reading `gatekeeper.toml`: environment over file over default, and every fault at once.

Any key can be set as `GATEKEEPER_SECTION__KEY`; the value is read as TOML where it can be, else as a text. The secret
`store.url` can stand in a file of its own, named by `store.url_file`.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from gatekeeper.config.sections import DEFAULT_POLICY_FILE, DEFAULT_STATE_DIRECTORY, read_settings
from gatekeeper.config.settings import Settings
from gatekeeper.domain.document import DocumentError, Fault, Table

ENVIRONMENT_PREFIX = "GATEKEEPER_"
CONFIG_VARIABLE = "GATEKEEPER_CONFIG"
MAX_OCTETS = 1_048_576


def load(path: Path, environment: Mapping[str, str]) -> Settings:
    """Read and check the configuration; raises `DocumentError` with all of its faults."""
    source = str(path)
    document = _document(path, source)
    faults: list[Fault] = []
    _override(document, environment, faults)
    _secret_from_file(document, source, faults)
    settings = read_settings(Table(document, source=source, faults=faults), source)
    if faults:
        raise DocumentError(faults)
    return settings


def state_directory(path: Path, environment: Mapping[str, str]) -> Path:
    """Where the running process keeps its control socket, told even when the rest of the configuration is broken."""
    return _path(path, environment, "server", "state_directory", DEFAULT_STATE_DIRECTORY)


def policy_file(path: Path, environment: Mapping[str, str]) -> Path:
    """Where the policy is, told even when the rest of the configuration is broken."""
    return _path(path, environment, "policy", "file", DEFAULT_POLICY_FILE)


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
        if path.stat().st_size > MAX_OCTETS:
            raise DocumentError([Fault(source, "", f"larger than {MAX_OCTETS} octets")])
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"cannot be read: {error.strerror} (name another with --config or $GATEKEEPER_CONFIG)"
        raise DocumentError([Fault(source, "", reason)]) from error
    except UnicodeDecodeError as error:
        raise DocumentError([Fault(source, "", "is not UTF-8")]) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DocumentError([Fault(source, "", f"is not TOML: {error}")]) from error


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
            table[key] = _value(environment[variable])
            table.pop(f"{key}_file", None)  # the environment's value also beats a file that the document names


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _secret_from_file(document: dict[str, object], source: str, faults: list[Fault]) -> None:
    store = document.get("store")
    if not isinstance(store, dict) or not isinstance(store.get("url_file"), str):
        return
    path = store.pop("url_file")
    try:
        store["url"] = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        faults.append(Fault(source, "store.url_file", f"`{path}` cannot be read: {error}"))
