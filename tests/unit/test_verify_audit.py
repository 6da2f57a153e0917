"""Logs, good and tampered with, before four verifiers: ours, the script with openssl, openssl by hand, two packages.

The script and the commands are what `docs/audit.md` gives auditors; nothing of Gatekeeper takes part in them.
"""

import base64
import gzip
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import metamorphic_log
import pytest
from click.testing import CliRunner
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tiles import leaf_hash

from gatekeeper.adapters.sinks.directory import note_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.record import FIRST_PREV
from gatekeeper.audit.stored import read
from gatekeeper.cli.audit import audit
from gatekeeper.signing.note import VerifierKey
from testkit.audit_log import ORIGIN, chained, event, head_of, log_of, pack_segments, write_segments
from testkit.merkle import KEY, OTHER_KEY, sign_log
from testkit.pruned import pruned_lines, write_pruned

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "verify_audit.py"
LOG = log_of(900)


def rechained(lines: list[bytes]) -> list[bytes]:
    """The same records, whole by themselves."""
    prev, made = FIRST_PREV, []
    for line in lines:
        record = read(line)
        made.append(line.replace(record.prev.encode(), prev.encode()))
        prev = hashlib.sha256(made[-1][:-1]).hexdigest()
    return made


FORK = rechained([line.replace(b"TikTok", b"Signal") for line in LOG])


def write(directory: Path, *segments: list[bytes]) -> None:
    shutil.rmtree(directory / "segments", ignore_errors=True)
    write_segments(directory, *segments)
    note_head(directory, head_of([line for lines in segments for line in lines]), ORIGIN, FileOperations())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A signed log of three segments, and beside it the head of its first 600 records, which an auditor kept."""
    directory = tmp_path / "log"
    write(directory, LOG[:300], LOG[300:600])
    sign_log(directory)
    shutil.copy(directory / "checkpoint", tmp_path / "kept")
    write(directory, LOG[:300], LOG[300:600], LOG[600:])
    sign_log(directory)
    (directory / "signing.key").unlink()
    return directory


def in_segment(directory: Path, number: int, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = sorted((directory / "segments").iterdir())[number]
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def lowered(directory: Path) -> None:
    path = directory / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n900\n", b"\n600\n"))
    write(directory, LOG[:300], LOG[300:600])


def in_checkpoint(directory: Path, number: int, line: bytes | None) -> None:
    path = directory / "checkpoint"
    lines = path.read_bytes().split(b"\n")
    lines[number : number + 1] = [] if line is None else [line]
    path.write_bytes(b"\n".join(lines))


AFTERWARDS = chained([event("forged")], head_of(LOG))


def anew(lines: list[bytes], *, other_key: bool = False) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        write(directory, lines)
        sign_log(directory, OTHER_KEY if other_key else KEY)
        (directory / "signing.key").unlink()

    return change


TAMPERING: dict[str, tuple[Callable[[Path], object], int, int]] = {
    "flip": (
        lambda at: in_segment(at, 1, lambda lines: [lines[0].replace(b"TikTok", b"TikTak"), *lines[1:]]),
        1,
        1,
    ),
    "flip in the last record": (
        lambda at: in_segment(at, 2, lambda lines: [*lines[:-1], lines[-1].replace(b"GK9003I", b"GK9002I")]),
        1,
        1,
    ),
    "drop": (lambda at: in_segment(at, 1, lambda lines: [*lines[:7], *lines[8:]]), 1, 1),
    "insert": (lambda at: in_segment(at, 1, lambda lines: [*lines[:7], lines[6], *lines[7:]]), 1, 1),
    "reorder": (lambda at: in_segment(at, 1, lambda lines: [*lines[:7], lines[8], lines[7], *lines[9:]]), 1, 1),
    "truncate": (lambda at: write(at, LOG[:300], LOG[300:600], LOG[600:800]), 1, 1),
    "truncate and tear": (lambda at: in_segment(at, 2, lambda lines: [*lines[:-1], lines[-1][:50]]), 1, 1),
    "fork": (anew([*LOG[:500], *rechained(LOG[:500] + FORK[500:])[500:]]), 1, 1),
    "go back, with the older head": (anew(LOG[:500]), 1, 1),
    "write anew with the live key": (anew(FORK), 1, 1),
    "rekey": (anew(LOG, other_key=True), 3, 3),
    "write anew with another key": (anew(FORK, other_key=True), 1, 3),
    "lower the size": (lowered, 1, 1),
    "replace a segment": (lambda at: in_segment(at, 1, lambda _: FORK[300:600]), 1, 1),
    "remove a segment": (lambda at: sorted((at / "segments").iterdir())[1].unlink(), 1, 1),
    "remove the checkpoint": (lambda at: (at / "checkpoint").unlink(), 3, 3),
    "put in a checkpoint of another log": (
        lambda at: (at / "checkpoint").write_bytes((at / "checkpoint").read_bytes().replace(b"/audit/1", b"/audit/2")),
        1,
        3,
    ),
    "delete the log": (lambda at: [shutil.rmtree(at / "segments"), shutil.rmtree(at / "tile")], 1, 1),
    "delete everything": (lambda at: [shutil.rmtree(at), at.mkdir()], 1, 3),
    "change the root": (lambda at: in_checkpoint(at, 2, base64.b64encode(bytes(32))), 1, 1),
    "drop the signature": (lambda at: in_checkpoint(at, 4, None), 3, 3),
    "append to what is signed": (lambda at: write(at, LOG[:300], LOG[300:600], [*LOG[600:], *AFTERWARDS]), 0, 0),
    "change a tile": (lambda at: (at / "tile/0/001").write_bytes(bytes(8192)), 1, 0),
    "remove a tile": (lambda at: (at / "tile/0/001").unlink(), 3, 0),
}
"""What is done, and how `audit verify` and the script end, both given the pinned key and the head that was kept."""


def ours(log: Path, *more: object) -> int:
    arguments = ["verify", log, "--vkey", KEY.verifier, "--since-checkpoint", log.parent / "kept", *more]
    return CliRunner().invoke(audit, [str(argument) for argument in arguments]).exit_code


def script(log: Path, *more: str) -> tuple[int, str]:
    command = [sys.executable, "-I", SCRIPT, log, "--vkey", str(KEY.verifier), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def _read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def tlog_scales(log: Path) -> None:
    """The package by the tiles: signature, root, every line; raises what it raises."""
    reader = TilesReader(LocalBackend(log))
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(Vkey.from_string(str(KEY.verifier)))
    assert reader.calculate_root_hash() == checkpoint.root_hash
    lines = [line for path in sorted((log / "segments").iterdir()) for line in _read(path).splitlines()]
    assert [leaf_hash(line) for line in lines[: checkpoint.size]] == [
        reader.mth(index, index + 1) for index in range(checkpoint.size)
    ]
    for index in range(0, checkpoint.size, 50):
        proof = reader.get_inclusion_proof(index, checkpoint.size)
        proof.check(leaf_hash(lines[index]), checkpoint.root_hash)


def metamorphic(log: Path) -> None:
    """The package by both heads and the proof that one goes on from the other; raises what it raises."""
    older = (log.parent / "kept").read_text()
    newer = (log / "checkpoint").read_text()
    sizes = [metamorphic_log.checkpoint_verify(head, [str(KEY.verifier)]).size for head in (older, newer)]
    reader = TilesReader(LocalBackend(log))
    reader.set_size(sizes[1])
    growth = reader.get_consistency_proof(*sizes)
    metamorphic_log.checkpoint_verify_consistency(older, newer, [str(KEY.verifier)], growth.node_hashes)


def foreign(log: Path) -> None:
    """Both; raises what they raise."""
    tlog_scales(log)
    metamorphic(log)


def openssl(log: Path) -> None:
    """The documented commands, which look at the signature alone; raises when it does not fit."""
    (log.parent / "gate.vkey").write_text(f"{KEY.verifier}\n")
    subprocess.run(["sh", "-e"], input=commands(log), cwd=log.parent, capture_output=True, text=True, check=True)


def alone(log: Path) -> None:
    """`audit verify` with the pinned key and without the head that was kept; raises when it ends otherwise than with 0."""
    arguments = ["verify", str(log), "--vkey", str(KEY.verifier)]
    assert CliRunner().invoke(audit, arguments).exit_code == 0


VERIFIERS: dict[str, Callable[[Path], None]] = {
    "alone": alone,
    "openssl": openssl,
    "tlog-scales": tlog_scales,
    "metamorphic-log": metamorphic,
}


def test_a_good_log_is_sound_to_all(log: Path) -> None:
    """With and without an older head."""
    assert ours(log) == 0
    assert script(log) == (0, f"SOUND: 900 records of {ORIGIN} are signed, 0 more are chained\n")
    assert script(log, "--since", str(log.parent / "kept"))[0] == 0
    foreign(log)


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_found(log: Path, name: str) -> None:
    """By ours and by the script, with the exit code that says so."""
    tamper, ours_ends, script_ends = TAMPERING[name]
    tamper(log)
    assert ours(log) == ours_ends
    code, told = script(log, "--since", str(log.parent / "kept"))
    assert (code, told.count("\n")) == (script_ends, 1), told


def test_what_is_not_signed_yet_is_held_by_its_chain(log: Path) -> None:
    """A change among the records after the last head: no tree covers them, `prev` does."""
    after = chained([event("c1"), event("c2"), event("c3")], head_of(LOG))
    write(log, LOG[:300], LOG[300:600], [*LOG[600:], *after])
    assert (ours(log), script(log)[1]) == (0, f"SOUND: 900 records of {ORIGIN} are signed, 3 more are chained\n")
    in_segment(log, 2, lambda lines: [*lines[:-2], lines[-2].replace(b"TikTok", b"TikTak"), lines[-1]])
    assert (ours(log), script(log)[0]) == (1, 1)


WHO_READS_LINES = frozenset({"alone", "tlog-scales"})
WHO_HAS_KEPT_A_HEAD = frozenset({"metamorphic-log"})
WHO_FOLLOWS_TILES = frozenset({"alone", "tlog-scales", "metamorphic-log"})
EVERYBODY = frozenset(VERIFIERS)
NOBODY: frozenset[str] = frozenset()

FINDS: dict[str, frozenset[str]] = {
    "flip": WHO_READS_LINES,
    "flip in the last record": WHO_READS_LINES,
    "drop": WHO_READS_LINES,
    "insert": WHO_READS_LINES,
    "reorder": WHO_READS_LINES,
    "truncate": WHO_READS_LINES,
    "truncate and tear": WHO_READS_LINES,
    "fork": WHO_HAS_KEPT_A_HEAD,
    "go back, with the older head": WHO_HAS_KEPT_A_HEAD,
    "write anew with the live key": WHO_HAS_KEPT_A_HEAD,
    "rekey": EVERYBODY,
    "write anew with another key": EVERYBODY,
    "lower the size": EVERYBODY,
    "replace a segment": WHO_READS_LINES,
    "remove a segment": WHO_READS_LINES,
    "remove the checkpoint": EVERYBODY,
    "put in a checkpoint of another log": EVERYBODY,
    "delete the log": WHO_FOLLOWS_TILES,
    "delete everything": EVERYBODY,
    "change the root": EVERYBODY,
    "drop the signature": EVERYBODY,
    "append to what is signed": NOBODY,  # signed within a second: until then it is the writer's word
    "change a tile": WHO_READS_LINES,
    "remove a tile": WHO_READS_LINES,
}
"""Of those in `VERIFIERS`. With a head that was kept, `audit verify` and the script find all that is in `TAMPERING`."""


@pytest.mark.parametrize("name", TAMPERING)
def test_which_verifier_finds_what(log: Path, name: str) -> None:
    """Each that looks at less finds less, and this says which: a promise, also of what is not found."""
    TAMPERING[name][0](log)
    found = set()
    for verifier, verify in VERIFIERS.items():
        try:
            verify(log)
        except Exception:  # noqa: BLE001  whatever it raises, it has found it
            found.add(verifier)
    assert found == FINDS[name]


def test_every_way_has_its_line_in_the_documentation() -> None:
    """What the table of `docs/audit.md` says of the four columns is what is tested here."""
    text = (ROOT / "docs" / "audit.md").read_text().partition("<!-- verifiers -->\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines()[2:]]
    told = {row[0]: row[1:] for row in rows}
    for name, (_, with_head, script_ends) in TAMPERING.items():
        finds = FINDS[name]
        seen = [with_head, "alone" in finds, script_ends, "openssl" in finds, "tlog-scales" in finds]
        expected = ["finds" if one else "-" for one in (*seen, "metamorphic-log" in finds)]
        assert told.pop(name) == expected, name
    assert not told


def flipped(directory: Path, number: int, place: float) -> None:
    path = sorted((directory / "segments").iterdir())[number]
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 0x10
    path.write_bytes(data)


def cut(directory: Path, number: int, kept: float) -> None:
    path = sorted((directory / "segments").iterdir())[number]
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])


def swapped(directory: Path, lines: list[bytes]) -> None:
    """The second segment becomes one with these lines, compressed as the gate does it."""
    write_segments(directory, LOG[:300], lines, LOG[600:])
    pack_segments(directory)


COMPRESSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "flip a bit of the lines": (lambda at: flipped(at, 1, 0.5), "damaged"),
    "flip a bit of the first header": (lambda at: flipped(at, 1, 0.0), "damaged"),
    "cut": (lambda at: cut(at, 0, 0.5), "damaged"),
    "change a line": (
        lambda at: swapped(at, [*LOG[300:400], LOG[400].replace(b"TikTok", b"TikTak"), *LOG[401:600]]),
        "changed",
    ),
    "drop a line": (lambda at: swapped(at, [*LOG[300:400], *LOG[401:600]]), "missing"),
    "replace by a whole segment": (lambda at: swapped(at, FORK[300:600]), "changed"),
    "replace by nothing": (lambda at: sorted((at / "segments").iterdir())[1].write_bytes(b""), "damaged"),
    "remove": (lambda at: sorted((at / "segments").iterdir())[1].unlink(), "missing"),
    "restore another plain one": (lambda at: write_segments(at, LOG[:300], FORK[300:600]), "changed"),
}
"""What is done to compressed segments, and what `audit verify` calls it."""


@pytest.fixture
def compressed(log: Path) -> Path:
    """The log with two of its three segments compressed."""
    assert not pack_segments(log)[0].exists()
    return log


def test_a_compressed_log_is_sound_to_all(compressed: Path) -> None:
    """Lines, tree, proofs and heads are those that they were."""
    assert ours(compressed) == 0
    assert script(compressed, "--since", str(compressed.parent / "kept")) == (
        0,
        f"SOUND: 900 records of {ORIGIN} are signed, 0 more are chained\n",
    )
    foreign(compressed)
    for sequence in (0, 310, 899):
        command = [sys.executable, "-m", "tlog_scales.cli", "gen-proof", str(compressed), str(sequence)]
        theirs = subprocess.run(command, capture_output=True, check=True).stdout
        arguments = ["--directory", str(compressed), "prove", "inclusion", str(sequence)]
        assert theirs == CliRunner().invoke(audit, arguments).stdout_bytes


@pytest.mark.parametrize("name", COMPRESSED)
def test_tampering_with_compressed_segments_is_found(compressed: Path, name: str) -> None:
    """By ours, with the segment, and by the script."""
    tamper, called = COMPRESSED[name]
    tamper(compressed)
    arguments = ["verify", str(compressed), "--vkey", str(KEY.verifier)]
    done = CliRunner().invoke(audit, arguments)
    assert done.exit_code == 1
    assert called in done.stdout
    if "header" not in name:  # no other program looks there
        assert script(compressed)[0] == 1


def test_a_damaged_segment_ends_a_search(compressed: Path) -> None:
    """Nobody takes what is left of it for all there is."""
    flipped(compressed, 1, 0.5)
    for command in (["query", "--user", "alice@example.com"], ["query", "--no-index"], ["prove", "inclusion", "590"]):
        done = CliRunner().invoke(audit, ["--directory", str(compressed), *command])
        assert done.exit_code == 1, command
        assert "jsonl.gz` is damaged: the gzip member at octet" in done.stderr


def commands(log: Path) -> str:
    """The commands of the documentation, for this log and key."""
    text = (ROOT / "docs" / "audit.md").read_text()
    block = text.partition("<!-- openssl -->\n```sh\n")[2].partition("```")[0]
    assert block
    return block.replace("/var/lib/gatekeeper/audit", str(log))


def test_openssl_by_hand(log: Path, tmp_path: Path) -> None:
    """As documented: the signature fits, and does not when size or key is another."""
    (tmp_path / "gate.vkey").write_text(f"{KEY.verifier}\n")

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-e"], input=commands(log), cwd=tmp_path, capture_output=True, text=True, check=False
        )

    done = run()
    assert (done.returncode, done.stdout) == (0, "Signature Verified Successfully\n"), done.stderr
    (tmp_path / "gate.vkey").write_text(f"{OTHER_KEY.verifier}\n")
    assert run().returncode != 0
    (tmp_path / "gate.vkey").write_text(f"{KEY.verifier}\n")
    TAMPERING["lower the size"][0](log)
    assert run().returncode != 0


@pytest.fixture
def pruned(tmp_path: Path) -> Path:
    """A log whose first 300 records were pruned, and the head of its first 200, which an auditor kept."""
    directory = tmp_path / "log"
    write(directory, pruned_lines()[:200])
    sign_log(directory)
    shutil.copy(directory / "checkpoint", tmp_path / "kept")
    write_pruned(directory)
    (directory / "signing.key").unlink()
    return directory


def test_a_pruned_log_is_sound_to_all(pruned: Path) -> None:
    """Also to an auditor who kept a head from before; what the log begins with is said."""
    assert ours(pruned) == 0
    told = script(pruned, "--since", str(pruned.parent / "kept"))
    assert told[0] == 0, told
    assert told[1].startswith(f"SOUND: 901 records of {ORIGIN} are signed")
    foreign_to_pruned(pruned)


def foreign_to_pruned(log: Path) -> None:
    reader = TilesReader(LocalBackend(log))
    checkpoint = reader.get_checkpoint()
    assert reader.calculate_root_hash() == checkpoint.root_hash
    line = min((log / "segments").iterdir()).read_bytes().splitlines()[0]
    reader.get_inclusion_proof(300, checkpoint.size).check(leaf_hash(line), checkpoint.root_hash)


def test_a_pruning_that_was_cut_short_leaves_a_sound_log(tmp_path: Path) -> None:
    """The record says that 600 go, and the process died when 300 were gone."""
    write_pruned(tmp_path / "log", pruned_lines(600))
    arguments = ["verify", str(tmp_path / "log"), "--vkey", str(KEY.verifier)]
    assert CliRunner().invoke(audit, arguments).exit_code == 0
    assert script(tmp_path / "log")[0] == 0


def without_the_record(at: Path) -> None:
    shutil.rmtree(at)
    write(at, LOG[:300], LOG[300:600], LOG[600:])
    sign_log(at)
    min((at / "segments").iterdir()).unlink()


def flip_a_hash(at: Path) -> None:
    tile = at / "tile/0/000"
    tile.write_bytes(tile.read_bytes()[:-1] + b"?")


PRUNED_TAMPERING: dict[str, tuple[Callable[[Path], object], int, int]] = {
    "no record of it": (without_the_record, 1, 1),
    "one segment more": (lambda at: min((at / "segments").iterdir()).unlink(), 1, 1),
    "a record more": (lambda at: in_segment(at, 0, lambda lines: lines[1:]), 1, 1),
    "another hash of a pruned record": (flip_a_hash, 1, 1),
    "no hashes of pruned records": (lambda at: (at / "tile/0/000").unlink(), 3, 3),
    "a record that is still there": (
        lambda at: in_segment(at, 0, lambda lines: [lines[0].replace(b"TikTok", b"TikTak"), *lines[1:]]),
        1,
        1,
    ),
}


@pytest.mark.parametrize("name", PRUNED_TAMPERING)
def test_tampering_with_a_pruned_log_is_found(pruned: Path, name: str) -> None:
    """What goes without a record of it, or is changed."""
    tamper, ours_ends, script_ends = PRUNED_TAMPERING[name]
    tamper(pruned)
    code, told = script(pruned, "--since", str(pruned.parent / "kept"))
    assert (ours(pruned), code, told.count("\n")) == (ours_ends, script_ends, 1), told


def test_the_script_is_short_and_needs_nothing() -> None:
    """An auditor reads it before trusting it."""
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) <= 120
    imported = [line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))]
    assert set(imported) <= sys.stdlib_module_names
    assert subprocess.run([sys.executable, "-I", SCRIPT], capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize("vkey", ["x", "a+b+c", f"{KEY.verifier}"[:-4], f"x{KEY.verifier}"])
def test_the_script_takes_no_other_key(log: Path, vkey: str) -> None:
    """Cut or changed: wrong usage."""
    command = [sys.executable, "-I", SCRIPT, log, "--vkey", vkey]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


def test_the_script_says_what_is_not_there(log: Path) -> None:
    """With the word of its exit code."""
    (log / "checkpoint").unlink()
    code, text = script(log)
    assert code == 3
    assert text.startswith("INCOMPLETE: ")
    assert "checkpoint" in text


def test_the_script_reads_no_line_without_end(log: Path) -> None:
    """What is longer than any record is no end that a crash tore off."""
    last = max((log / "segments").iterdir())
    with last.open("ab") as file:
        file.write(b"x" * 30_000)
    code, text = script(log)
    assert code == 1
    assert "the line has no end" in text


def test_a_worker_log_is_signed_by_the_gates_key(log: Path) -> None:
    """The gate's key counts for its workers' logs; for no other log that merely begins with the same name."""
    command = [sys.executable, "-I", SCRIPT, log, "--vkey"]
    for name, ends in ((ORIGIN, 0), (ORIGIN.removesuffix("/1"), 3)):
        vkey = str(VerifierKey(name, KEY.verifier.public))
        assert subprocess.run([*command, vkey], capture_output=True, check=False).returncode == ends


def test_a_foreign_program_makes_the_same_proof(log: Path) -> None:
    """`tlog-tiles` reads the log as it lies there."""
    for sequence in (0, 255, 256, 512, 899):
        command = [sys.executable, "-m", "tlog_scales.cli", "gen-proof", str(log), str(sequence)]
        theirs = subprocess.run(command, capture_output=True, check=True).stdout
        arguments = ["--directory", str(log), "prove", "inclusion", str(sequence)]
        assert theirs == CliRunner().invoke(audit, arguments).stdout_bytes
