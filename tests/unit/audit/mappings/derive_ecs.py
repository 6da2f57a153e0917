"""Derive ecs-9.4.0.json beside this from a checkout of github.com/elastic/ecs (Apache-2.0) at the tag v9.4.0.

    python tests/unit/audit/mappings/derive_ecs.py CHECKOUT

Kept are the fields of the sets that audit records are mapped to, each with its type and whether it is a list, and the
values of `event.*` that the schema names, with the types that it expects in a category.
"""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

TAG = "v9.4.0"
SETS = {"base", "ecs", "event", "user", "device", "source", "destination", "network", "observer", "rule", "related"}


def main(checkout: str) -> None:
    """Write the file."""

    def show(path: str) -> str:
        return subprocess.run(
            ["git", "-C", checkout, "show", f"{TAG}:{path}"], check=True, capture_output=True, text=True
        ).stdout

    fields = {
        row["Field"]: row["Type"] + (" array" if row["Normalization"] == "array" else "")
        for row in csv.DictReader(show("generated/csv/fields.csv").splitlines())
        if row["Field_Set"] in SETS and row["Field"].count(".") < 2
    }
    values: dict[str, dict[str, list[str]]] = {}
    field = value = ""
    for line in show("schemas/event.yml").splitlines():
        if found := re.fullmatch(r" {4}- name: (\w+)", line):
            field = found[1]
        elif found := re.fullmatch(r" {8}- name: (\w+)", line):
            value = found[1]
            values.setdefault(f"event.{field}", {})[value] = []
        elif found := re.fullmatch(r" {12}- (\w+)", line):
            values[f"event.{field}"][value].append(found[1])
    document = {
        "source": f"github.com/elastic/ecs {TAG}, Apache-2.0; made by derive_ecs.py",
        "fields": dict(sorted(fields.items())),
        "values": values,
    }
    target = Path(__file__).with_name("ecs-9.4.0.json")
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
