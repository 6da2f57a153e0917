"""`audit registry` and `audit verify --all`: every log that must be there is, under its key, and no other."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.directory import note_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.record import FIRST_PREV
from gatekeeper.audit.registry import Registry
from gatekeeper.audit.stored import read
from gatekeeper.cli.audit import audit
from gatekeeper.signing.note import SigningKey, VerifierKey
from testkit.audit_log import ORIGIN, chained, event, head_of, log_of, write_segments
from testkit.merkle import KEY, OTHER_KEY, sign_log

ORIGINS = {"worker-1": f"{ORIGIN}/worker-1", "worker-2": f"{ORIGIN}/worker-2", "elsewhere": "other.example/audit/1"}


def make(
    directory: Path, origin: str, count: int = 30, *, key: SigningKey = KEY, lines: list[bytes] | None = None
) -> Path:
    """A signed log of that name."""
    made = [line.replace(ORIGIN.encode(), origin.encode()) for line in lines or log_of(count)]
    made = rechained(made)
    shutil.rmtree(directory / "segments", ignore_errors=True)
    write_segments(directory, made)
    note_head(directory, head_of(made), origin, FileOperations())
    sign_log(directory, SigningKey(origin, key.private))
    (directory / "signing.key").unlink()
    return directory


def rechained(lines: list[bytes]) -> list[bytes]:
    """The same records, whole by themselves."""
    prev, made = FIRST_PREV, []
    for line in lines:
        made.append(line.replace(read(line).prev.encode(), prev.encode()))
        prev = hashlib.sha256(made[-1][:-1]).hexdigest()
    return made


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two workers of one gate, and another gate, all in the registry."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "gate" / "worker-1", ORIGINS["worker-1"])
    make(tmp_path / "gate" / "worker-2", ORIGINS["worker-2"])
    make(tmp_path / "elsewhere", ORIGINS["elsewhere"], key=OTHER_KEY)
    result = run("add", "gate", "--vkey", KEY.verifier)
    assert result.exit_code == 0, result.output
    result = run("add", "elsewhere", "--vkey", VerifierKey(ORIGINS["elsewhere"], OTHER_KEY.verifier.public))
    assert result.exit_code == 0, result.output
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit, ["registry", *map(str, arguments), "--registry", "logs.json"])


def verify(*arguments: str) -> Result:
    return CliRunner().invoke(audit, ["verify", "--all", "--registry", "logs.json", *arguments])


def test_every_log_is_verified_under_its_key(logs: Path) -> None:
    """Wherever it lies; for people and as a document."""
    result = verify()
    assert result.exit_code == 0, result.output
    assert [result.stdout.count(origin) for origin in ORIGINS.values()] == [1, 1, 1]
    assert result.stdout.count("(pinned)") == 3
    assert json.loads(verify("--json").stdout)["result"] == "SOUND"
    listed = json.loads(run("list", "--json").stdout)
    assert {one["origin"] for one in listed} == set(ORIGINS.values())
    assert "goes on" in run("list").stdout


def test_what_was_signed_is_noted_and_then_required(logs: Path) -> None:
    """A log that grew is sound; after `--update` it must not be as small as before."""
    small = log_of(30)[:20]
    make(logs / "elsewhere", ORIGINS["elsewhere"], key=OTHER_KEY, lines=small)
    assert verify().exit_code == 1, "cut since it was taken in"
    shutil.rmtree(logs / "elsewhere")
    make(logs / "elsewhere", ORIGINS["elsewhere"], key=OTHER_KEY)
    grown = [*log_of(30), *chained([event("c99")], head_of(log_of(30)))]
    make(logs / "elsewhere", ORIGINS["elsewhere"], key=OTHER_KEY, lines=grown)
    assert verify("--update").exit_code == 0
    assert Registry.parse((logs / "logs.json").read_bytes()).logs[ORIGINS["elsewhere"]].checkpoint.size == 31  # type: ignore[union-attr]
    make(logs / "elsewhere", ORIGINS["elsewhere"], key=OTHER_KEY)
    result = verify("--update")
    assert result.exit_code == 1
    assert "the log has 30 records although 31 were signed" in result.stdout


def test_nothing_is_noted_while_one_is_wrong(logs: Path) -> None:
    """Neither of the others."""
    grown = [*log_of(30), *chained([event("c99")], head_of(log_of(30)))]
    make(logs / "elsewhere", ORIGINS["elsewhere"], key=OTHER_KEY, lines=grown)
    shutil.rmtree(logs / "gate" / "worker-2")
    before = (logs / "logs.json").read_bytes()
    assert verify("--update").exit_code == 1
    assert (logs / "logs.json").read_bytes() == before


TAMPERING: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "deleted": (
        lambda logs: shutil.rmtree(logs / "gate" / "worker-2"),
        1,
        f"there is no log `{ORIGIN}/worker-2`, of which 30",
    ),
    "deleted with all beside it": (
        lambda logs: shutil.rmtree(logs / "gate"),
        1,
        f"there is no log `{ORIGIN}/worker-1`",
    ),
    "emptied": (
        lambda logs: [shutil.rmtree(logs / "elsewhere"), (logs / "elsewhere").mkdir()],
        1,
        f"there is no log `{ORIGINS['elsewhere']}`",
    ),
    "put in the place of another": (
        lambda logs: [
            shutil.rmtree(logs / "gate" / "worker-2"),
            shutil.copytree(logs / "gate" / "worker-1", logs / "gate" / "worker-2"),
        ],
        1,
        f"there is no log `{ORIGIN}/worker-2`",
    ),
    "signed anew by another key": (
        lambda logs: make(logs / "elsewhere", ORIGINS["elsewhere"], key=KEY),
        3,
        "the head is signed by",
    ),
    "written and signed anew by another key": (
        lambda logs: make(logs / "elsewhere", ORIGINS["elsewhere"], 20, key=KEY),
        1,
        "although 30 were signed",
    ),
    "not in the registry": (
        lambda logs: make(logs / "gate" / "worker-3", f"{ORIGIN}/worker-3"),
        3,
        f"the registry does not name the log `{ORIGIN}/worker-3`",
    ),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_what_is_wrong_among_many_logs_is_found(logs: Path, name: str) -> None:
    """With the exit code that says so, and which log it is."""
    tamper, code, words = TAMPERING[name]
    tamper(logs)
    result = verify()
    assert result.exit_code == code, result.output
    assert words in result.stdout
    document = json.loads(verify("--json").stdout)
    assert document["result"] == {1: "TAMPERED", 3: "INCOMPLETE"}[code]


def test_a_log_elsewhere_is_looked_for_too(logs: Path) -> None:
    """In a directory that is named; a log that was moved is found there."""
    shutil.move(logs / "elsewhere", logs / "moved")
    assert verify().exit_code == 1
    assert verify("moved", "--update").exit_code == 0
    assert verify().exit_code == 0


def test_a_log_that_was_archived_need_not_be_there(logs: Path) -> None:
    """It stays on the list with who said so and why."""
    shutil.rmtree(logs / "elsewhere")
    assert run("end", ORIGINS["elsewhere"], "--reason", "shelf 7").exit_code == 0
    result = verify()
    assert result.exit_code == 0, result.output
    assert "shelf 7" in run("list").stdout
    assert run("end", "nothing", "--reason", "x").exit_code == 2


def test_a_log_after_a_restored_one_is_named_with_it(logs: Path) -> None:
    """Both must be there; the list says which follows which."""
    origin = ORIGINS["elsewhere"]
    detail: dict[str, str | int] = {"predecessor": origin, "predecessor_size": 30, "found_n": 30}
    opened = event(code=EventCode.LOG_OPENED, connection=None, decision=None, account=None, message="")
    told = event(code=EventCode.LOG_SUCCEEDS, connection=None, decision=None, account=None, message="", detail=detail)
    aside = logs / "elsewhere" / "before-1"
    aside.mkdir()
    for name in ("segments", "checkpoint", "head.json", "tile"):
        (logs / "elsewhere" / name).rename(aside / name)
    make(logs / "elsewhere", f"{origin}/2", key=OTHER_KEY, lines=chained([opened, told]))
    line = f'"predecessor":"{origin}"'
    assert line in next((logs / "elsewhere" / "segments").iterdir()).read_text()
    assert verify().exit_code == 3
    added = run("add", "elsewhere", "--vkey", VerifierKey(origin, OTHER_KEY.verifier.public))
    assert added.exit_code == 0, added.output
    assert verify().exit_code == 0
    assert f"followed by {origin}/2" in run("list").stdout
    shutil.rmtree(aside)
    assert verify().exit_code == 1


def test_a_restored_log_is_known_as_it_is(logs: Path) -> None:
    """What is gone of it is tampering until somebody says that it is known; from then on it must not lose more."""
    origin = ORIGINS["elsewhere"]
    make(logs / "elsewhere", origin, key=OTHER_KEY, lines=log_of(30)[:20])
    assert verify().exit_code == 1
    ended = run("end", origin, "--reason", "restored from a backup, see GK9007W")
    assert ended.exit_code == 0
    assert "20 records, ended" in ended.stdout
    assert verify().exit_code == 0
    make(logs / "elsewhere", origin, key=OTHER_KEY, lines=log_of(30)[:19])
    assert verify().exit_code == 1


def test_what_does_not_verify_is_not_known(logs: Path) -> None:
    """Whoever ends a log that was changed has not made it sound."""
    segment = next((logs / "elsewhere" / "segments").iterdir())
    segment.write_bytes(segment.read_bytes().replace(b"TikTok", b"Signal"))
    assert run("end", ORIGINS["elsewhere"], "--reason", "x").exit_code == 0
    assert verify().exit_code == 1
    shutil.rmtree(logs / "elsewhere")
    assert verify().exit_code == 0


def test_a_new_key_is_taken_in_by_name_only(logs: Path) -> None:
    """Not because it lies beside the log, or because somebody signed with it."""
    make(logs / "elsewhere", ORIGINS["elsewhere"], key=KEY)
    assert (
        run("add", "elsewhere", "--vkey", VerifierKey(ORIGINS["elsewhere"], OTHER_KEY.verifier.public)).exit_code == 3
    )
    assert verify().exit_code == 3
    added = run("add", "elsewhere", "--vkey", VerifierKey(ORIGINS["elsewhere"], KEY.verifier.public))
    assert "another key" in added.stdout
    assert verify().exit_code == 0


def test_a_log_that_is_wrong_is_not_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one whose key nobody knows; a key from beside the log is said to be such."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "log", ORIGIN)
    assert run("add", "log").exit_code == 3
    assert not Path("logs.json").exists()
    sign_log(tmp_path / "log")
    added = run("add", "log")
    assert added.exit_code == 0
    assert "was found beside it" in added.stderr
    write_segments(tmp_path / "log", log_of(30)[:-1])
    assert run("add", "log").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["verify", "--all"], "names the file"),
        (["verify", "--all", "--registry", "gone.json"], "cannot be read"),
        (["verify", "--all", "--registry", "broken.json"], "not JSON"),
        (["verify", "--all", "--registry", "logs.json", "--vkey", str(KEY.verifier)], "from the registry"),
        (["verify", "--update", "log"], "goes with --all"),
        (["registry", "list"], "names the file"),
        (["registry", "add", "log"], "names the file"),
    ],
)
def test_wrong_usage_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    """One line says what is wrong."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "log", ORIGIN)
    Path("broken.json").write_text("x")
    Path("logs.json").write_text('{"v": 1, "logs": []}')
    result = CliRunner().invoke(audit, arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
