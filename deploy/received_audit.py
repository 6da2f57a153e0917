#!/usr/bin/env python3
"""Make one audit log out of what a receiver got, for `verify_audit.py`. Python's standard library, nothing else.

    received_audit.py RECORDS... --heads HEADS... --out DIRECTORY [--log NAME]

RECORDS are files of JSON lines, as deploy/rsyslog/receiver.conf and HTTP receivers write them: repeated, out of order,
of several logs, with lines that were torn when the receiver was killed; also of objects that have the record's line as
the text `message`, as deploy/fluent-bit/forwarder.yml sends them. HEADS are checkpoints, or files of JSON lines
that hold one as `checkpoint`. DIRECTORY must not exist; it gets `segments/` and the newest checkpoint that the records
reach. NAME chooses the log when there are several.
Exit: 0 made, 1 one record came in two versions, 2 wrong usage, 3 records are missing.

What comes out is not verified yet: run `verify_audit.py DIRECTORY --vkey KEY`.
"""

import argparse
import json
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

BEGIN = b'{"class_uid":'
WRAPPED = b'{"message":"'


def stop(code: int, text: str) -> NoReturn:
    print(text)
    sys.exit(code)


def parse(line: bytes) -> tuple[str, int] | None:
    """The log's name and the record's number; None: no record."""
    try:
        record = json.loads(line)
        return record["unmapped"]["gatekeeper"]["log"], record["metadata"]["sequence"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def unwrapped(raw: bytes) -> bytes:
    """The line as it stands in the log, where a forwarder put it into an object as `message`; else `raw` itself."""
    if raw.startswith(BEGIN):
        return raw
    try:
        held = json.loads(raw)
        return bytes(held["message"], "utf-8") + b"\n" if "class_uid" not in held else raw
    except (ValueError, KeyError, TypeError, RecursionError):
        return raw


def collect(database: sqlite3.Connection, paths: list[str], log: str | None) -> tuple[str, int, int]:
    """Put every record of one log in its place; the log's name, how many came again, and how many lines were torn."""
    database.execute("CREATE TABLE records (sequence INTEGER PRIMARY KEY, line BLOB)")
    repeated = torn = 0
    for path in paths:
        for number, stored in enumerate(Path(path).open("rb"), 1):  # noqa: SIM115  closed with the process
            raw = unwrapped(stored) if stored.endswith(b"\n") else stored
            found = parse(raw) if raw.endswith(b"\n") else None
            if found is None:  # the first part of a record, and perhaps a whole one that was written behind it
                torn += 1
                raw = unwrapped(raw[max(raw.rfind(BEGIN), raw.rfind(WRAPPED), 0) :])  # the rest of the line
                found = parse(raw) if raw.endswith(b"\n") else None
            if found is None:
                continue  # it came again, or will be found missing
            name, sequence = found
            if log is None:
                log = name
            if name != log:
                continue
            known = database.execute("SELECT line FROM records WHERE sequence = ?", (sequence,)).fetchone()
            if known is None:
                database.execute("INSERT INTO records VALUES (?, ?)", (sequence, raw))
            elif known[0] != raw:
                stop(1, f"TAMPERED: {path} line {number}: record {sequence} came before with other octets")
            else:
                repeated += 1
    return log or "", repeated, torn


def newest(paths: list[str], log: str, most: int) -> bytes | None:
    """The head of the most records, of those that are there."""
    found: tuple[int, bytes] | None = None
    for path in paths:
        data = Path(path).read_bytes()
        if data.startswith(b"{"):
            heads = [json.loads(line)["checkpoint"].encode() for line in data.splitlines()]
        else:
            heads = [data]
        for head in heads:
            origin, size = head.decode().split("\n")[:2]
            if origin == log and int(size) <= most and (found is None or int(size) > found[0]):
                found = (int(size), head)
    return None if found is None else found[1]


parser = argparse.ArgumentParser(description="Make one audit log out of what a receiver got.")
parser.add_argument("records", nargs="+")
parser.add_argument("--heads", nargs="*", default=[])
parser.add_argument("--out", required=True, type=Path)
parser.add_argument("--log")
options = parser.parse_args()
if options.out.exists():
    stop(2, f"`{options.out}` exists")
segments = options.out / "segments"
segments.mkdir(parents=True)
scratch = options.out / "scratch.sqlite3"  # on the disk: there may be more records than memory
database = sqlite3.connect(scratch)
log, repeated, torn = collect(database, options.records, options.log)
first, count, last = database.execute("SELECT min(sequence), count(*), max(sequence) FROM records").fetchone()
if not count:
    stop(3, f"INCOMPLETE: no record of {log or 'any log'}")
began = json.loads(database.execute("SELECT line FROM records WHERE sequence = ?", (first,)).fetchone()[0])["time"]
stamp = datetime.fromtimestamp(began / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
expected = first
with (segments / f"{first:020d}-{stamp}.jsonl").open("wb") as segment:
    for sequence, line in database.execute("SELECT sequence, line FROM records ORDER BY sequence"):
        if sequence != expected:
            stop(3, f"INCOMPLETE: {log}: records {expected} to {sequence - 1} are missing")
        segment.write(line)
        expected += 1
database.close()
scratch.unlink()
if first:
    stop(3, f"INCOMPLETE: {log}: the first {first} records are missing")
head = newest(options.heads, log, last + 1)
if head is not None:
    (options.out / "checkpoint").write_bytes(head)
print(f"MADE: {count} records of {log}, {'with' if head else 'without'} a head ({repeated} repeats, {torn} torn lines)")
