#!/usr/bin/env python3
"""Verify an audit log of Gatekeeper with Python's standard library and `openssl`, and nothing of Gatekeeper.

    verify_audit.py DIRECTORY --vkey KEY [--since CHECKPOINT]

DIRECTORY holds `checkpoint` and `segments`. KEY is the verifier key that you pinned (`gatekeeper audit keys`).
CHECKPOINT is a `checkpoint` that you kept: the log must begin with what it signed.
Exit: 0 sound, 1 tampering, 2 wrong usage, 3 incomplete, or not signed by the pinned key.

Checked: each record's number and its SHA-256 of the line before; the Merkle tree over the exact lines (RFC 6962)
against the root in the checkpoint (c2sp.org/tlog-checkpoint); its Ed25519 signature (c2sp.org/signed-note), by openssl.
"""

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

SPKI = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: what stands before the 32 octets of an Ed25519 key


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def stop(code: int, text: str) -> NoReturn:
    print(text)
    sys.exit(code)


def parse_key(vkey: str) -> tuple[str, bytes]:
    name, key_id, encoded = vkey.strip().split("+", 2)
    public = base64.b64decode(encoded, validate=True)[1:]
    if sha256(name.encode() + b"\n\x01" + public)[:4].hex() != key_id or len(public) != 32:
        raise ValueError("its id does not fit")
    return name, public


def is_signed(public: bytes, text: bytes, signature: bytes) -> bool:
    with tempfile.TemporaryDirectory() as name:
        for file, content in (("key", SPKI + public), ("text", text), ("signature", signature)):
            Path(name, file).write_bytes(content)
        command = "openssl pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in text -sigfile signature"
        return subprocess.run(command.split(), cwd=name, capture_output=True, check=False).returncode == 0


def checkpoint(path: Path, name: str, public: bytes) -> tuple[str, int, bytes]:
    """Origin, size and root that the key signed."""
    text, _, signatures = path.read_bytes().partition(b"\n\n")
    text += b"\n"
    origin, size, root = text.decode().split("\n")[:3]
    own_id = sha256(origin.encode() + b"\n\x01" + public)[:4]
    for line in signatures.decode().splitlines():
        _, signer, blob = line.split(" ")
        octets = base64.b64decode(blob)
        # The key of a gate with several workers signs each one's log, in that log's name.
        if signer == origin and octets[:4] == own_id and (signer == name or signer.startswith(name + "/worker-")):
            if not is_signed(public, text, octets[4:]):
                stop(1, f"TAMPERED: {path}: the signature does not fit")
            return origin, int(size), base64.b64decode(root)
    stop(3, f"INCOMPLETE: {path}: not signed by the pinned key")


def root_of(peaks: list[tuple[int, bytes]]) -> bytes:
    root = peaks[-1][1] if peaks else sha256(b"")
    for _, peak in reversed(peaks[:-1]):
        root = sha256(b"\x01" + peak + root)
    return root


def read_log(directory: str, wanted: set[int]) -> tuple[int, dict[int, bytes], str]:
    """Follow the chain; how many records there are, the roots at the wanted sizes, and the origin they name."""
    peaks: list[tuple[int, bytes]] = []
    size, prev, origin, torn, roots = 0, "0" * 64, "", "", {0: root_of([])}
    for segment in sorted(Path(directory, "segments").glob("*.jsonl")):
        for number, raw in enumerate(segment.open("rb"), 1):
            place, line = f"{segment.name} line {number}", raw[:-1]
            if torn:
                stop(1, f"TAMPERED: {torn}: the line has no end, though the log goes on")
            if not raw.endswith(b"\n"):
                torn = place  # at the end of the log: a crash, or a write under way
                continue
            try:
                record = json.loads(line)
                sequence, facts = record["metadata"]["sequence"], record["unmapped"]["gatekeeper"]
                if (sequence, facts["prev"], facts["log"]) != (size, prev, origin or facts["log"]):
                    stop(1, f"TAMPERED: {place}: record {sequence} does not follow the one before")
            except (ValueError, KeyError, TypeError, RecursionError):
                stop(1, f"TAMPERED: {place}: no record")
            origin, prev, size = facts["log"], hashlib.sha256(line).hexdigest(), size + 1
            peaks.append((0, sha256(b"\x00" + line)))
            while len(peaks) > 1 and peaks[-1][0] == peaks[-2][0]:
                (height, left), (_, right) = peaks[-2:]
                peaks[-2:] = [(height + 1, sha256(b"\x01" + left + right))]
            if size in wanted:
                roots[size] = root_of(peaks)
    return size, roots, origin


parser = argparse.ArgumentParser(description="Verify an audit log with nothing of Gatekeeper.")
parser.add_argument("directory")
parser.add_argument("--vkey", required=True, type=parse_key)
parser.add_argument("--since", action="append", default=[], metavar="CHECKPOINT")
options = parser.parse_args()
signed = []
for path in [Path(options.directory, "checkpoint"), *map(Path, options.since)]:
    try:
        signed.append((path, *checkpoint(path, *options.vkey)))
    except (OSError, ValueError) as error:
        stop(3 if isinstance(error, OSError) else 1, f"{path}: no checkpoint that can be read: {error}")
size, roots, origin = read_log(options.directory, {each[2] for each in signed})
for path, named, many, root in signed:
    if named != (origin or named) or many > size or roots[many] != root:
        stop(1, f"TAMPERED: the log has {size} records of {origin}, not the {many} of {named} that {path} signed")
print(f"SOUND: {signed[0][2]} records of {origin} are signed, {size - signed[0][2]} more are chained")
