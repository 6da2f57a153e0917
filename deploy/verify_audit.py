#!/usr/bin/env python3
"""Verify an audit log of Gatekeeper with Python's standard library and `openssl`, and nothing of Gatekeeper.

    verify_audit.py DIRECTORY --vkey KEY [KEY] [--since CHECKPOINT]

DIRECTORY holds `checkpoint`, `segments` (compressed or not) and `tile`. KEY is the verifier key that you pinned
(`gatekeeper audit keys`; after a change both), CHECKPOINT a `checkpoint` that you kept: the log must begin with it.
Checked: number and previous SHA-256 of each record; the Merkle root over the exact lines (RFC 6962); the checkpoint
(c2sp.org/tlog-checkpoint), its Ed25519 signature; what was pruned. Exit: 0 sound, 1 tampering, 2 usage, 3 incomplete.
"""

import argparse
import base64
import gzip
import itertools
import json
import re
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path


def stop(code: int, text: str) -> SystemExit:
    print(text)
    return SystemExit(code)


def parse_key(vkey: str) -> tuple[str, bytes]:
    name, key_id, encoded = vkey.strip().split("+", 2)
    public = base64.b64decode(encoded, validate=True)[1:]
    if sha256(name.encode() + b"\n\x01" + public).digest()[:4].hex() != key_id or len(public) != 32:
        raise ValueError("its id does not fit")
    return name, public


def checkpoint(path: Path, keys: list[tuple[str, bytes]]) -> tuple[str, int, bytes]:
    text, _, signatures = path.read_bytes().partition(b"\n\n")
    origin, size, root = text.decode().split("\n")[:3]
    for line, (name, public) in itertools.product(signatures.decode().splitlines(), keys):
        own_id = sha256(origin.encode() + b"\n\x01" + public).digest()[:4]
        _, signer, blob = line.split(" ")
        octets = base64.b64decode(blob)
        # A gate's key also signs, in their names, the logs of its workers, and those that follow a restored one.
        is_ours = re.fullmatch(re.escape(name) + r"(/worker-\d+)?(/(?!1$)\d+)?", signer)
        if signer != origin or octets[:4] != own_id or not is_ours:
            continue
        key = bytes.fromhex("302a300506032b6570032100") + public  # RFC 8410
        with tempfile.TemporaryDirectory() as where:
            for file, content in (("key", key), ("text", text + b"\n"), ("signature", octets[4:])):
                Path(where, file).write_bytes(content)
            command = "openssl pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in text -sigfile signature"
            if subprocess.run(command.split(), cwd=where, capture_output=True, check=False).returncode:
                raise stop(1, f"TAMPERED: {path}: the signature does not fit")
        return origin, int(size), base64.b64decode(root)
    raise stop(3, f"INCOMPLETE: {path}: not signed by the pinned key")


def pruned(directory: str, count: int) -> Iterator[bytes]:  # their hashes stay, in tiles of 256: c2sp.org/tlog-tiles
    for index in range(-(-count // 256)):
        *high, low = (part.zfill(3) for part in f"{index:,}".split(","))
        tile = Path(directory, "tile/0", *(f"x{part}" for part in high), low).read_bytes()
        yield from (tile[place : place + 32] for place in range(0, min(count - index * 256, 256) * 32, 32))


def leaves(directory: str) -> Iterator[tuple[str, bytes]]:  # along the chain: the log's name, the hash of each record
    size, prev, origin, torn, first, kept = 0, "0" * 64, "", "", 0, 0
    names = [str(path) for _ in range(2) for path in Path(directory, "segments").glob("*.jsonl*")]
    for segment in sorted({name.removesuffix(".gz") for name in names if not name.endswith(".new")}):
        with Path(segment).open("rb") if Path(segment).exists() else gzip.open(segment + ".gz") as lines:
            for number, raw in enumerate(iter(lambda: lines.readline(20_000), b""), 1):
                place, line = f"{Path(segment).name} line {number}", raw[:-1]
                if torn:
                    raise stop(1, f"TAMPERED: {torn}: the line has no end, though the log goes on")
                if not raw.endswith(b"\n"):
                    torn = place  # at the end of the log: a crash, or a write under way
                    continue
                try:
                    record = json.loads(line)
                    sequence, facts = record["metadata"]["sequence"], record["unmapped"]["gatekeeper"]
                    if not origin and sequence > 0:  # a later record has to say that those before were pruned
                        size, prev, first = sequence, facts["prev"], sequence
                        yield from ((facts["log"], leaf) for leaf in pruned(directory, first))
                    if (sequence, facts["prev"], facts["log"]) != (size, prev, origin or facts["log"]):
                        raise stop(1, f"TAMPERED: {place}: record {sequence} does not follow the one before")
                    kept = max(kept, facts["first_kept"] if record["metadata"]["event_code"] == "GK9011I" else 0)
                except (ValueError, KeyError, TypeError, RecursionError):
                    raise stop(1, f"TAMPERED: {place}: no record") from None
                origin, prev, size = facts["log"], sha256(line).hexdigest(), size + 1
                yield origin, sha256(b"\x00" + line).digest()
    if first > kept:
        raise stop(1, f"TAMPERED: the log begins with record {first}, and no record says that those before were pruned")


parser = argparse.ArgumentParser(description="Verify an audit log with nothing of Gatekeeper.")
parser.add_argument("directory")
parser.add_argument("--vkey", required=True, type=parse_key, nargs="+", metavar="KEY")
parser.add_argument("--since", action="append", default=[], metavar="CHECKPOINT")
args = parser.parse_args()
peaks, size, origin, roots = [], 0, "", {0: sha256().digest()}
try:
    signed = [(each, *checkpoint(Path(each), args.vkey)) for each in [f"{args.directory}/checkpoint", *args.since]]
    for size, (origin, leaf) in enumerate(leaves(args.directory), 1):  # noqa: B007  asked for below
        height, root = 0, leaf
        while peaks and peaks[-1][0] == height:
            height, root = height + 1, sha256(b"\x01" + peaks.pop()[1] + root).digest()
        peaks.append((height, root))
        if size in {each[2] for each in signed}:
            for _, peak in reversed(peaks[:-1]):
                root = sha256(b"\x01" + peak + root).digest()
            roots[size] = root
except (EOFError, OSError, ValueError, zlib.error) as error:
    code, word = (3, "INCOMPLETE") if getattr(error, "errno", 0) else (1, "TAMPERED")
    raise stop(code, f"{word}: {args.directory}, after {size} records: {error}") from None
for path, named, many, root in signed:
    if named != (origin or named) or many > size or roots[many] != root:
        raise stop(1, f"TAMPERED: the log has {size} records of {origin}, not the {many} of {named} that {path} signed")
print(f"SOUND: {signed[0][2]} records of {origin} are signed, {size - signed[0][2]} more are chained")
