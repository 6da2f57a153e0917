"""The commands `inventory import` and `inventory list`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from testkit.inventory import NOTES, TIKTOK, device

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command on a database of its own."""
    (tmp_path / "gate.sqlite3").touch()

    def run(*arguments: str, data: str | None = None) -> Result:
        store = ["--store", f"sqlite:///{tmp_path}/gate.sqlite3"]
        return CliRunner().invoke(cli, [*arguments, *store], input=data)

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An inventory of two phones."""
    path = tmp_path / "phones.jsonl"
    lines = [device("ph-1", "alice@example.com", TIKTOK), device("ph-2", "bob@example.com")]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_import_says_what_it_changed(run: Run, file: Path) -> None:
    """And the same file again changes nothing."""
    first, second = run("inventory", "import", str(file)), run("inventory", "import", str(file))

    assert (first.exit_code, first.stdout) == (0, f"{file}: 2 created, 0 changed, 0 unchanged\n")
    assert (second.exit_code, second.stdout) == (0, f"{file}: 0 created, 0 changed, 2 unchanged\n")


def test_an_import_for_machines(run: Run, file: Path) -> None:
    """Counts, and the digest by which the audit log names the file."""
    document = json.loads(run("inventory", "import", str(file), "--json").stdout)

    assert {name: document[name] for name in ("created", "changed", "unchanged")} == {
        "created": 2,
        "changed": 0,
        "unchanged": 0,
    }
    assert len(document["sha256"]) == 64


def test_an_import_reads_standard_input(run: Run, file: Path) -> None:
    """For pipes from the device management."""
    result = run("inventory", "import", "-", data=file.read_text())

    assert result.stdout == "standard input: 2 created, 0 changed, 0 unchanged\n"


def test_every_bad_line_is_told_and_nothing_is_applied(run: Run, file: Path) -> None:
    """One line a fault, with file, number and reason."""
    file.write_text(file.read_text() + '{"device_id": "ph-3"}\nnonsense\n')
    result = run("inventory", "import", str(file))

    assert result.exit_code == 1
    assert result.stdout == ""
    told = result.stderr.splitlines()
    assert any(line.startswith(f"{file}: line 3: ") for line in told)
    assert any(line.startswith(f"{file}: line 4: ") for line in told)
    assert told[-1] == "nothing was applied"
    assert json.loads(run("device", "list", "--json").stdout) == []


def test_faults_for_machines(run: Run, file: Path) -> None:
    """The same faults as one document."""
    file.write_text("nonsense\n")
    result = run("inventory", "import", str(file), "--json")

    assert result.exit_code == 1
    assert [fault["key"] for fault in json.loads(result.stdout)["faults"]] == ["line 1"]


def test_older_evidence_is_told_with_line_and_device(run: Run, file: Path) -> None:
    """An old export does not take back what is known, and nothing of it is applied."""
    run("inventory", "import", str(file))
    old = [
        device("ph-9", "carol@example.com"),
        "",
        device("ph-1", "alice@example.com", collected_at="2020-07-01T00:00:00Z"),
    ]
    file.write_text("\n".join(old))
    result = run("inventory", "import", str(file))

    assert result.exit_code == 1
    assert result.stderr.startswith(f"{file}: line 3: device `ph-1`: older than the evidence on record of ")
    assert [one["device_id"] for one in json.loads(run("device", "list", "--json").stdout)] == ["ph-1", "ph-2"]


def test_older_evidence_in_csv_is_told_with_its_device(run: Run, tmp_path: Path) -> None:
    """There a device has several lines, so that no single one is named."""
    path = tmp_path / "phones.csv"
    head = "device_id,user,platform,collected_at,app_id,app_name,version\n"
    path.write_text(head + "ph-1,alice@example.com,android,2020-07-02T00:00:00Z,com.example.notes,Notes,1\n")
    assert run("inventory", "import", str(path)).exit_code == 0
    path.write_text(head + "ph-1,alice@example.com,android,2020-07-01T00:00:00Z,com.example.notes,Notes,1\n")
    result = run("inventory", "import", str(path))

    assert result.stderr.startswith(f"{path}: device `ph-1`: older than the evidence on record of 2020-07-02")


def test_a_source_can_be_given(run: Run, file: Path) -> None:
    """What two exports say is kept apart."""
    run("inventory", "import", str(file), "--source", "intune")
    run("inventory", "import", str(file))
    sources = json.loads(run("inventory", "list", "--json").stdout)

    assert [(one["source"], one["devices"]) for one in sources] == [("intune", 2), ("mdm", 2)]


def test_sources_for_people(run: Run, file: Path) -> None:
    """Aligned columns; before the first import a hint on stderr."""
    empty = run("inventory", "list")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "no inventory on record yet" in empty.stderr

    run("inventory", "import", str(file))
    header, row = run("inventory", "list").stdout.splitlines()
    assert header.split() == ["SOURCE", "DEVICES", "NEWEST", "OLDEST"]
    assert row.startswith("mdm     2        ")


def test_a_store_that_cannot_be_opened_is_bad_configuration(tmp_path: Path, file: Path) -> None:
    """The text says what to do."""
    url = f"sqlite:///{tmp_path}/absent/gate.sqlite3"
    result = CliRunner().invoke(cli, ["inventory", "import", str(file), "--store", url])

    assert result.exit_code == 78
    assert "does not exist; create it first" in result.stderr


def test_no_app_name_is_printed_by_an_import(run: Run, file: Path) -> None:
    """Not even when it is refused."""
    good = run("inventory", "import", str(file))
    file.write_text(device("ph-1", "alice@example.com", NOTES, TIKTOK, collected_at="2020-07-01T00:00:00Z"))
    bad = run("inventory", "import", str(file))

    assert bad.exit_code == 1
    assert "musically" not in good.output + bad.output
