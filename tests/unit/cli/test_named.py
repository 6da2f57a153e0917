"""Files that are named on the command line and are not what they should be, over the whole tree of commands.

Each is told first, by one line on stderr and the documented exit code; nothing is changed, nothing is unexpected.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from gatekeeper.cli.named import InputFile
from gatekeeper.signing.keys import locked
from testkit.audit_log import log_of, write_segments
from testkit.configuration import Configuration
from testkit.inventory import device
from testkit.merkle import sign_log
from testkit.publishing import MALLORY, NOVAK, ORIGIN, RUIZ, bundle, key, policy_text

PASSPHRASE = "correct horse battery"
GLASS = key("break-glass")
TEST = """
schema = 1
[[test]]
name = "nobody registered it"
at = 2020-01-01
session = { user = "a@example.com" }
expect = { verdict = "block" }
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A command with a place `@` for a file; every other file is one of the world's."""

    command: str
    bad: int | None = 1
    """The exit code for a file with nonsense in it; None: what stands in it does not matter here."""
    takes_directories: bool = False

    @property
    def words(self) -> list[str]:
        return self.command.split()


READS = [
    Row("policy check @"),
    Row("policy plan @", bad=2),
    Row("policy plan --against @", bad=78),
    Row("policy plan --watch @", bad=2),
    Row("policy test @", takes_directories=True),
    Row("policy test --policy @ policy.test.toml"),
    Row("policy build @ --author w --reason r -o new.bundle"),
    Row("policy diff @ policy.toml"),
    Row("policy diff policy.toml @"),
    Row("policy explain alice@example.com --policy @", bad=78),
    Row("policy sign @ --key i.novak.key --passphrase-file passphrase"),
    Row("policy sign policy-1.bundle --key @ --passphrase-file passphrase"),
    Row("policy sign policy-1.bundle --key mallory.key --passphrase-file @"),
    Row("policy publish @"),
    Row("policy publish policy-1.bundle --force --reason r --key @", bad=None),
    Row("policy publish policy-1.bundle --force --reason r --key mallory.key --passphrase-file @", bad=None),
    Row("policy key show @"),
    Row("policy key new somebody new.key --passphrase-file @", bad=None),
    Row("policy break-glass --note @"),
    Row("policy break-glass --minutes 5 --reason r --key @ --passphrase-file passphrase"),
    Row("policy break-glass --minutes 5 --reason r --key break-glass.key --passphrase-file @"),
    Row("device why alice@example.com --policy @", bad=78),
    Row("inventory import @"),
    Row("audit verify log --since-checkpoint @", bad=2),
    Row("audit verify log --vkey @", bad=2),
    Row("audit verify log --witness @", bad=2),
    Row("audit verify --all --registry @", bad=2),
    Row("audit registry list --registry @", bad=2),
    Row("audit registry end o.example/audit --reason r --registry @", bad=2),
    Row("audit prove check @ record", bad=2),
    Row("audit prove check proof @"),
    Row("audit --directory log prove consistency @", bad=2),
    Row("audit --directory log replay --policy @", bad=2),
    Row("audit --directory log replay --made-by @", bad=2),
    Row("audit --directory log report --policy @", bad=2),
    Row("audit --directory log export --out exported --sign @ --passphrase-file passphrase"),
    Row("audit --directory log export --out exported --sign mallory.key --passphrase-file @"),
    Row("audit witness --name w.example/w --state witness --vkey @", bad=2),
]
DIRECTORIES = [
    Row("audit verify @", bad=3),
    Row("audit --directory @ verify", bad=3),
    Row("audit registry add @ --registry new.registry", bad=None),
    Row("audit --directory @ tail", bad=0),
    Row("audit --directory @ query", bad=0),
    Row("audit --directory @ prove inclusion 0", bad=3),
    Row("audit --directory @ prove consistency", bad=3),
    Row("audit --directory @ replay", bad=0),
    Row("audit --directory @ export --out exported", bad=None),
    Row("audit --directory @ report", bad=0),
    Row("audit check-export @"),
]
WRITES = [
    "policy build --author w --reason r -o @",
    "policy rollback --to 1 --author w --reason r -o @",
    "policy plan --svg @",
    "policy key new somebody @ --passphrase-file passphrase",
    "policy break-glass --minutes 5 --reason r --key break-glass.key --passphrase-file passphrase -o @",
    "audit --directory log prove inclusion 0 -o @",
    "audit --directory log prove inclusion 0 --record @",
    "audit --directory log prove consistency -o @",
    "audit --directory log report --out @",
    "audit --directory log export --out @",
]
CONFIGURED = [
    *("serve", "status", "drain", "doctor", "config check", "config show"),
    *("policy check", "policy test", "policy plan", "policy explain alice@example.com", "policy status"),
    *("policy build --author w --reason r", "policy rollback --to 1 --author w --reason r", "policy break-glass --end"),
    *("policy publish policy-1.bundle", "policy diff", "policy diff 1"),
    *("device list", "device show ph-1", "device forget ph-1", "device why alice@example.com"),
    *("inventory list", "inventory import phones.jsonl"),
    *(
        "audit verify",
        "audit tail",
        "audit query",
        "audit keys",
        "audit keys rotate",
        "audit keys retire",
        "audit replay",
        "audit report",
    ),
    *("audit hold add --reason x", "audit hold list", "audit hold release h-1 --reason x", "audit prune"),
    *("audit resolve u2026q4:00000000000000000000000000000000 --reason x", "audit erase alice@example.com --reason x"),
    *("audit prove inclusion 0", "audit prove consistency", "audit export --out exported"),
]
UNCONFIGURED = {"config init", "config schema", "policy schema", "audit codes", "demo", "reload"}
"""They need no configuration; `reload` asks a gate that has its own."""


class World:
    """A site with everything that a command can ask for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configuration = Configuration(directory)
        bundles = {
            "directory": str(directory / "published"),
            "origin": ORIGIN,
            "threshold": 2,
            "approvers": [str(RUIZ.verifier), str(NOVAK.verifier)],
        }
        self.configuration.write({"policy": {"bundles": bundles, "break_glass": {"key": str(GLASS.verifier)}}})
        (directory / "policy.toml").write_text(policy_text(no_tiktok="com.zhiliaoapp.musically"))
        (directory / "policy.test.toml").write_text(TEST)
        (directory / "passphrase").write_text(PASSPHRASE)
        (directory / "phones.jsonl").write_text(device("ph-1", "alice@example.com"))
        (directory / "policy-1.bundle").write_bytes(bundle(1).encode())
        for each in (NOVAK, MALLORY, GLASS):
            (directory / f"{each.name}.key").write_bytes(locked(each, PASSPHRASE.encode()))
        (directory / "var").mkdir()
        self.good("policy", "publish", "policy-1.bundle")
        self.good("inventory", "import", "phones.jsonl")
        (directory / "policy-1.bundle").write_bytes(bundle(2).encode())
        write_segments(directory / "log", log_of(20))
        sign_log(directory / "log")
        self.good(*["audit", "--directory", "log", "prove", "inclusion", "3", "-o", "proof", "--record", "record"])
        self.good(*["audit", "--directory", "log", "export", "--out", "kept"])
        (directory / "config").mkdir()
        (directory / "config" / "policy.toml").write_text("schema = 1\n")  # where an empty configuration has it
        self.make_bad_files()

    def make_bad_files(self) -> None:
        bad = self.directory / "bad"
        bad.mkdir()
        (bad / "directory").mkdir()
        (bad / "loop").symlink_to("loop")
        (bad / "unreadable").symlink_to("/proc/self/mem")  # the mode of a file does not keep root from reading it
        (bad / "empty").touch()
        (bad / "binary").write_bytes(bytes(range(256)))
        (bad / "unknown-key").write_text("schema = 1\ncolour = 1\n")
        (bad / "endless").symlink_to("/dev/zero")

    def run(self, *words: str, config: str = "gatekeeper.toml") -> Result:
        return CliRunner().invoke(cli, ["--config", config, *words])

    def good(self, *words: str) -> None:
        result = self.run(*words)
        assert result.exit_code == 0, (words, result.output, result.exception)

    def digest(self, *, without_log: bool = False) -> str:
        """Of everything in the world; `without_log`: but what the audit log has."""
        digest = hashlib.sha256()
        for path in sorted(self.directory.rglob("*")):
            is_log = path.relative_to(self.directory).parts[:2] in (("var", "audit"), ("var", "audit-heads"))
            if path.is_symlink() or path.name.endswith(("-wal", "-shm")) or (without_log and is_log):
                continue
            digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
        return digest.hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Made once: no test may change it."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("world")
        patch.chdir(directory)
        return World(directory)


@pytest.fixture
def world(made: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """With its directory as the current one."""
    monkeypatch.chdir(made.directory)
    return made


def told(result: Result) -> str:
    """The one line that says what is wrong; fails when there is another, or an unexpected error."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    lines = [line for line in result.stderr.splitlines() if line.lower().startswith("error: ")]
    others = [line for line in result.stderr.splitlines() if line not in lines]
    assert len(lines) == 1, result.stderr
    assert not others or others[0].startswith(("Usage: ", "warning: ", "note: ")), result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


@pytest.mark.parametrize("row", READS, ids=lambda row: row.command)
def test_a_file_that_cannot_be_read_is_wrong_usage(world: World, row: Row) -> None:
    """It is told first, whatever the configuration is like, and nothing at all is changed."""
    before = world.digest()
    for name, words in {
        "bad/absent": "No such file or directory",
        "bad/directory": "Is a directory",
        "bad/loop": "Too many levels of symbolic links",
        "bad/unreadable": "Input/output error",
        "passphrase/x": "Not a directory",
    }.items():
        if name == "bad/directory" and row.takes_directories:
            continue
        for config in ("gatekeeper.toml", "bad/absent"):
            result = world.run(*[name if word == "@" else word for word in row.words], config=config)
            line = told(result)
            assert (result.exit_code, result.stdout) == (2, ""), line
            assert f"`{name}`" in line
            assert words in line or "--vkey" in row.command or "--witness" in row.command
    assert world.digest() == before


@pytest.mark.parametrize("row", [row for row in READS if row.bad is not None], ids=lambda row: row.command)
@pytest.mark.parametrize("name", ["empty", "binary", "unknown-key", "endless"])
def test_a_file_with_nonsense_in_it(world: World, row: Row, name: str) -> None:
    """Each fault is one line that names the file; nothing is changed but that a refusal may be on record."""
    before = world.digest(without_log=True)
    result = world.run(*[f"bad/{name}" if word == "@" else word for word in row.words])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == row.bad, result.stderr
    assert result.stderr.strip()
    for line in result.stderr.splitlines():
        assert line.isprintable()
        assert len(line) < 500
    assert world.digest(without_log=True) == before


@pytest.mark.parametrize("row", DIRECTORIES, ids=lambda row: row.command)
def test_a_directory_that_is_none(world: World, row: Row) -> None:
    """Or has nothing in it."""
    before = world.digest()
    for name in ("bad/absent", "passphrase", "passphrase/x", "bad/loop"):
        result = world.run(*[name if word == "@" else word for word in row.words])
        line = told(result)
        assert (result.exit_code, result.stdout) == (2, ""), line
        assert name in line
    if row.bad is not None:
        result = world.run(*["bad/directory" if word == "@" else word for word in row.words])
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code == row.bad, result.output
    assert world.digest() == before


@pytest.mark.parametrize("command", WRITES)
def test_a_place_where_nothing_can_be_written(world: World, command: str) -> None:
    """A directory, a name below a file, below nothing: wrong usage, and nothing is changed."""
    before = world.digest()
    places = ["bad/directory", "passphrase/x", "bad/absent/x", "bad/loop/x"]
    for name in places if "export" not in command else places[1::2]:  # it makes, or takes, a directory
        result = world.run(*[name if word == "@" else word for word in command.split()])
        line = told(result)
        assert (result.exit_code, result.stdout) == (2, ""), line
        assert name in line
    assert world.digest() == before


@pytest.mark.parametrize(
    "command",
    [
        *("device list", "device show ph-1", "device forget ph-1", "device why alice@example.com --policy policy.toml"),
        *("inventory list", "policy check policy.toml --devices", "policy plan --against policy.toml policy.toml"),
        "audit --directory log replay --policy policy.toml",
    ],
)
def test_a_store_that_is_not_there_is_not_made(world: World, command: str) -> None:
    """Nobody would be registered in it."""
    before = world.digest()
    result = world.run(*command.split(), "--store", "sqlite:///bad/none.sqlite3")
    line = told(result)
    assert (result.exit_code, result.stdout) == (2, ""), line
    assert "--store: there is no file `bad/none.sqlite3`" in line
    assert world.digest() == before


@pytest.mark.parametrize("command", CONFIGURED)
def test_a_configuration_that_is_none(world: World, command: str) -> None:
    """78, with a line for each fault."""
    before = world.digest()
    for name in ("absent", "directory", "loop", "unreadable", "empty", "binary", "unknown-key", "endless"):
        result = world.run(*command.split(), config=f"bad/{name}")
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert (result.exit_code, result.stdout) == (78, ""), (name, result.output)
        for line in result.stderr.splitlines():
            assert line.startswith(f"error: bad/{name}: "), line
            assert line.isprintable()
    assert world.digest() == before


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command at the end of the tree."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from leaves(inner, (*path, name))


def test_no_command_is_left_out() -> None:
    """A new command, or a new file that one reads, comes with its row."""
    commands = [*(row.command for row in (*READS, *DIRECTORIES)), *WRITES, *CONFIGURED, *UNCONFIGURED]
    said = [command.replace("--directory log ", "").replace("--directory @ ", "") for command in commands]
    tree = dict(leaves(cli))
    assert [path for path in tree if not any(f"{each} ".startswith(f"{path} ") for each in said)] == []
    reads = [row.command.replace("--directory log ", "") for row in READS]
    for path, command in tree.items():
        rows = [row.removeprefix(path).split() for row in reads if row.startswith(f"{path} ")]
        places = [row[row.index("@") - 1] if row.index("@") else "" for row in rows]
        for parameter in command.params:
            if not isinstance(parameter.type, InputFile):
                continue
            if isinstance(parameter, click.Option):
                assert set(parameter.opts) & set(places), f"{path} {parameter.opts[0]}"
            else:
                assert any(not place.startswith("-") for place in places), f"{path} {parameter.name}"


def handbook() -> Iterator[str]:
    """The commands of the handbook's table: the first of a row in full, the others by their last word."""
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    for row in re.findall(r"(?m)^\| (`[a-z].*?) \|", text.partition("## Signals")[0]):
        group: list[str] = []
        for item in re.findall(r"`([^`]+)`", row):
            words = re.match(r"(?:[a-z][a-z-]*(?: |$))+", f"{item} ")
            if words is not None:
                path = words[0].split()
                path = path if path[0] in cli.list_commands(click.Context(cli)) else [*group, *path]
                group = path[:-1]
                yield " ".join(path)


def test_every_command_is_in_the_handbook() -> None:
    """Or, where it is one of a few that go together, its group."""
    told = set(handbook())
    assert [path for path, _ in leaves(cli) if path not in told and path.rpartition(" ")[0] not in told] == []


def test_what_is_read_from_a_pipe_is_not_lost(world: World) -> None:
    """Looking whether it can be read takes nothing out of it."""
    read_end, write_end = os.pipe()
    os.write(write_end, (world.directory / "policy.toml").read_bytes())
    os.close(write_end)
    try:
        assert world.run("policy", "check", f"/dev/fd/{read_end}").exit_code == 0
    finally:
        os.close(read_end)
