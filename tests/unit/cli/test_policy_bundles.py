"""The commands `policy build | sign | publish | status | rollback | diff`, without a gate that runs."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.bundles.store import BundleStore
from gatekeeper.cli import policy_publish
from gatekeeper.cli.main import cli
from gatekeeper.domain.identity import DEFAULT
from gatekeeper.publishing.approval import Override, approve
from gatekeeper.publishing.bundle import parse_bundle
from gatekeeper.signing.keys import locked
from testkit.configuration import Configuration
from testkit.inventory import device
from testkit.publishing import MALLORY, NOVAK, ORIGIN, RUIZ, approvers, bundle, policy_text

PASSPHRASE = "correct horse battery"
BUILD = ("build", "--author", "w.author", "--reason", "Directive 7")


class Bench:
    """A configuration with bundles, and the command line on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configuration = Configuration(directory)
        self.store = BundleStore(directory / "published")
        keys = [str(RUIZ.verifier), str(NOVAK.verifier)]
        bundles = {"directory": str(self.store.directory), "origin": ORIGIN, "threshold": 2, "approvers": keys}
        self.configuration.write({"policy": {"bundles": bundles}})
        (directory / "passphrase").write_text(PASSPHRASE)
        for key in (RUIZ, NOVAK, MALLORY):
            (directory / f"{key.name}.key").write_bytes(locked(key, PASSPHRASE.encode()))

    def run(self, *arguments: object) -> Result:
        """A `policy` command."""
        command = ["--config", str(self.configuration.path), "policy", *map(str, arguments)]
        return CliRunner().invoke(cli, command)

    def sign(self, path: Path, name: str, *more: str) -> Result:
        """Sign with somebody's key."""
        key = self.directory / f"{name}.key"
        return self.run("sign", path, "--key", key, "--passphrase-file", self.directory / "passphrase", *more)

    def records(self) -> list[dict[str, object]]:
        """What the audit log has of policies."""
        lines = [line for path in self.directory.glob("var/audit/segments/*") for line in path.read_text().splitlines()]
        records = [json.loads(line) for line in lines]
        return [one["unmapped"]["gatekeeper"] for one in records if one["metadata"]["event_code"].startswith("GK30")]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """In a directory of its own."""
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path)


def test_built_signed_published(bench: Bench) -> None:
    """Three commands; the file that is published is the file that was signed."""
    path = bench.directory / "policy-1.bundle"
    assert bench.run(*BUILD).exit_code == 0
    for name in ("a.ruiz", "i.novak"):
        assert bench.sign(path, name).exit_code == 0
    done = bench.run("publish", path)

    assert (done.exit_code, done.stdout) == (0, "version 1: published, approved by a.ruiz, i.novak\n")
    assert "no gate answers: it takes this version when it starts" in done.stderr
    assert bench.store.read(1) == path.read_bytes()
    assert bench.run("build", *BUILD[1:]).stdout.splitlines()[1] == "2"


def test_publishing_waits_for_every_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not answer may still follow the version from before."""
    path = bench.directory / "policy-1.bundle"
    path.write_bytes(bundle(1).encode())
    said = {"policy": {"version": 1, "for": "everybody"}}
    answers = iter([(200, {**said, "unanswered": [2]}), (200, said)])
    monkeypatch.setattr(policy_publish, "gate_answer", lambda *_: next(answers))

    assert bench.run("publish", path).stdout.splitlines()[-1] == "version 1: in force (everybody)"
    assert next(answers, None) is None


def test_who_signs_twice_has_signed_once(bench: Bench) -> None:
    """The figure is of people, not of attempts."""
    path = bench.directory / "policy-1.bundle"
    bench.run(*BUILD)

    assert "(1 signature)" in bench.sign(path, "a.ruiz").stderr
    assert "(1 signature)" in bench.sign(path, "a.ruiz").stderr
    assert "(2 signatures)" in bench.sign(path, "i.novak").stderr


def test_what_is_not_approved_is_not_published(bench: Bench) -> None:
    """Exit code 1, the reason, a record; the store stays as it was."""
    path = bench.directory / "policy-1.bundle"
    bench.run(*BUILD)
    bench.sign(path, "a.ruiz")
    bench.sign(path, "mallory")
    done = bench.run("publish", path)

    assert done.exit_code == 1
    assert "approved by a.ruiz; 2 approvers are needed besides its author `w.author`" in done.stderr
    assert bench.store.versions() == ()
    assert [(one["flaw"]) for one in bench.records()] == ["signature"]


def test_the_author_cannot_approve(bench: Bench) -> None:
    """Whose key it is decides; who is not the author cannot say so either."""
    path = bench.directory / "own.bundle"
    path.write_bytes(bundle(1, by=(), author="a.ruiz").encode())

    assert "`a.ruiz` is its author, who cannot approve it" in bench.sign(path, "a.ruiz").stderr
    assert "`i.novak` is not its author" in bench.sign(path, "i.novak", "--as-author").stderr
    assert parse_bundle(path.read_bytes()).signatures == ()
    assert bench.sign(path, "a.ruiz", "--as-author").exit_code == 0


def test_a_policy_with_faults_is_not_built(bench: Bench) -> None:
    """Every fault, with its key; no file is written."""
    bench.configuration.policy_path.write_text('schema = 1\n[[rule]]\nid = "x"\n')
    done = bench.run(*BUILD)

    assert done.exit_code == 1
    assert "rule[0].apps" in done.stderr
    assert not list(bench.directory.glob("*.bundle"))


def test_nothing_is_written_over(bench: Bench) -> None:
    """A bundle that somebody has signed already is not built again on top of it."""
    bench.run(*BUILD)
    assert "exists: name another with --output" in bench.run(*BUILD).stderr


def test_a_rollback_has_the_old_content_and_a_new_version(bench: Bench) -> None:
    """And says so in its reason."""
    for version, text in ((1, policy_text()), (2, policy_text(a="com.a"))):
        bench.store.publish(version, bundle(version, text).encode())
    done = bench.run("rollback", "--to", 1, "--author", "w.author", "--reason", "typo")
    made = parse_bundle((bench.directory / "policy-3.bundle").read_bytes())

    assert done.exit_code == 0
    assert made.statement.version == 3
    assert made.statement.reason == "rollback to 1: typo"
    assert made.files == bundle(1, policy_text()).files
    assert "says what is in force" not in done.stderr
    bench.store.publish(3, bundle(3, policy_text()).encode())
    again = bench.run("rollback", "--to", 1, "--author", "w.author", "--reason", "again")
    assert "version 1 says what is in force: this changes nothing" in again.stderr
    assert "there is no version 9" in bench.run("rollback", "--to", 9, "--author", "w", "--reason", "r").stderr


def test_the_history_shows_what_is_refused(bench: Bench) -> None:
    """One row a version, also for people."""
    bench.store.publish(1, bundle(1).encode())
    bench.store.publish(2, bundle(2, by=(RUIZ,)).encode())
    bench.store.publish(3, b"rubbish")
    said = json.loads(bench.run("status", "--json").stdout)

    assert said["gate"] is None
    assert [row["version"] for row in said["versions"]] == [1, 2, 3]
    assert said["versions"][0]["approved_by"] == "a.ruiz i.novak"
    assert "REFUSED: approved by a.ruiz" in said["versions"][1]["approved_by"]
    assert "REFUSED: is not a bundle" in said["versions"][2]["approved_by"]
    assert "does not answer" in bench.run("status").stdout


def test_a_difference_is_told_by_rule_and_by_line(bench: Bench) -> None:
    """Between versions, bundles and files; by default from what is in force to the draft."""
    bench.store.publish(1, bundle(1, policy_text(a="com.a")).encode())
    bench.configuration.policy_path.write_text(policy_text(a="com.b"))
    lines = bench.run("diff").stdout.splitlines()

    assert lines[:3] == ["~ rule a", "--- before/policy.toml", "+++ after/policy.toml"]
    assert '+apps = [{ platform = "android", id = "com.b" }]' in lines
    assert bench.run("diff", "1", "1").stdout == ""


def test_two_files_are_compared_without_bundles(tmp_path: Path) -> None:
    """As a site needs it whose policy is a file; the configured one may be left out."""
    configuration = Configuration(tmp_path)
    configuration.write({})
    draft = tmp_path / "draft.toml"
    draft.write_text(policy_text(a="com.a"))

    def diff(*arguments: object, config: Path = configuration.path) -> Result:
        return CliRunner().invoke(cli, ["--config", str(config), "policy", "diff", *map(str, arguments)])

    lines = diff(configuration.policy_path, draft, config=Path("/nowhere.toml")).stdout.splitlines()
    assert lines[:3] == ["+ rule a", "--- before/policy.toml", "+++ after/policy.toml"]
    assert diff(draft).stdout.splitlines()[0] == "- rule a"
    for version, text in ((1, policy_text()), (2, policy_text(b="com.b"))):
        (tmp_path / f"policy-{version}.bundle").write_bytes(bundle(version, text).encode())
    bundles = [tmp_path / f"policy-{version}.bundle" for version in (1, 2)]
    assert diff(*bundles, config=Path("/nowhere.toml")).stdout.splitlines()[0] == "+ rule b"
    assert diff(draft, draft).stdout == ""
    assert diff("1", draft).exit_code == 78
    assert (diff().exit_code, "name two files" in diff().stderr) == (2, True)


def test_the_status_of_a_file(tmp_path: Path) -> None:
    """Though no gate answers."""
    configuration = Configuration(tmp_path)
    configuration.write({})

    def status(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--config", str(configuration.path), "policy", "status", *arguments])

    digest = hashlib.sha256(configuration.policy_path.read_bytes()).hexdigest()
    gate, file = status().stdout.splitlines()
    assert gate == "gate       does not answer: it takes the file when it starts"
    assert file == f"file       {configuration.policy_path}, sha256 {digest[:16]}"
    facts = json.loads(status("--json").stdout)
    assert facts == {
        "gate": None,
        "versions": [],
        "file": {"path": str(configuration.policy_path), "sha256": digest},
    }
    configuration.policy_path.write_text("schema = 2")
    assert "has faults, so it cannot come into force" in status().stdout


@pytest.mark.parametrize("command", [("build", "--author", "w", "--reason", "r"), ("publish", "policy.toml")])
def test_a_site_with_a_file_is_told_so(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 78, and what to add."""
    monkeypatch.chdir(tmp_path)
    configuration = Configuration(tmp_path)
    configuration.write({})
    done = CliRunner().invoke(cli, ["--config", str(configuration.path), "policy", *command])

    assert done.exit_code == 78
    assert "add [policy.bundles] with origin, threshold and approvers" in done.stderr


def forced(bench: Bench, path: Path, name: str, reason: str = "Tonight, by order of the board") -> Result:
    """Publish over the breaker with somebody's key."""
    key = ["--key", bench.directory / f"{name}.key", "--passphrase-file", bench.directory / "passphrase"]
    return bench.run("publish", path, "--force", "--reason", reason, *key)


@pytest.fixture
def wide(bench: Bench) -> Path:
    """A bundle that blocks every Android phone, for a typo; three people are on record."""
    inventory = bench.directory / "phones.jsonl"
    inventory.write_text("".join(device(f"ph-{name}", f"{name}@example.com") + "\n" for name in ("a", "b", "c")))
    command = ["--config", str(bench.configuration.path), "inventory", "import", str(inventory)]
    (bench.directory / "var").mkdir(exist_ok=True)
    assert CliRunner().invoke(cli, command).exit_code == 0
    bench.store.publish(1, bundle(1, policy_text(no_chat="com.chat")).encode())
    path = bench.directory / "wide.bundle"
    path.write_bytes(bundle(2, policy_text(no_chat="com.*")).encode())
    return path


def test_the_breaker_holds_back_what_blocks_too_many(bench: Bench, wide: Path) -> None:
    """Exit code 1 with the figures, and on record; nothing is published."""
    done = bench.run("publish", wide)

    assert done.exit_code == 1
    assert "would newly block 3 of 3 people (no-chat: 3 devices); policy.breaker.max_percent allows 10 %" in done.stderr
    assert "or have a second approver publish it with --force" in done.stderr
    assert bench.store.versions() == (1,)
    assert [one["flaw"] for one in bench.records() if "flaw" in one] == ["breaker"]


def test_a_second_approver_can_force_it_with_a_reason(bench: Bench, wide: Path) -> None:
    """The word travels in the bundle; strangers and the lack of a reason do not count."""
    assert bench.run("publish", wide, "--force").exit_code == 2
    assert "not signed by a second approver" in forced(bench, wide, "mallory").stderr
    assert bench.store.versions() == (1,)
    done = forced(bench, wide, "i.novak")

    assert done.exit_code == 0, done.stderr
    assert "warning: forced: it would newly block 3 of 3 people" in done.stderr
    approved = approve(bench.store.read(2), approvers(), DEFAULT)
    assert approved.override == Override("i.novak", "Tonight, by order of the board")


def test_one_approver_alone_cannot_force(bench: Bench, wide: Path) -> None:
    """Where one is enough to approve, the force is another one's."""
    bench.configuration.write({"policy": {"bundles": {"threshold": 1}}})
    wide.write_bytes(bundle(2, policy_text(no_chat="com.*"), by=(RUIZ,)).encode())

    assert "not signed by a second approver" in forced(bench, wide, "a.ruiz").stderr
    assert forced(bench, wide, "i.novak").exit_code == 0


def test_a_protected_person_is_named(bench: Bench, wide: Path) -> None:
    """However few are hit."""
    bench.configuration.write({"policy": {"breaker": {"max_percent": 100, "protected": ["B@example.com"]}}})
    assert "would newly block protected people: b@example.com" in bench.run("publish", wide).stderr


def test_the_breaker_knows_the_directorys_groups(bench: Bench, wide: Path) -> None:
    """Who is a member of what a rule is for is the directory's word, not a guess."""
    groups = bench.directory / "groups.csv"
    groups.write_text("group,user\nBoard,a@example.com\nStaff,b@example.com\n")
    bench.configuration.write({"groups": {"file": str(groups)}, "policy": {"breaker": {"max_percent": 40}}})
    scoped = (
        policy_text(no_chat="com.*") + '[rule.scope]\ngroups = ["board"]\n[groups]\nboard = { directory = "Board" }\n'
    )
    wide.write_bytes(bundle(2, scoped).encode())
    done = bench.run("publish", wide)
    assert done.exit_code == 0, done.stderr

    bench.configuration.write({"policy": {"breaker": {"max_percent": 0}}})
    bench.store.publish(4, bundle(4, policy_text()).encode())
    wide.write_bytes(bundle(5, scoped).encode())
    assert "would newly block 1 of 3 people" in bench.run("publish", wide).stderr
