"""The apps in signed evidence."""

import json
from typing import Any

import pytest

from gatekeeper.attestation.measurements import read_apps
from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.cli.demo.phone_agent import to_base64url
from gatekeeper.domain.app import App
from testkit.evidence import OMIT, measurements, with_changes

DIGEST = to_base64url(b"\x01" * 32)
COMPONENT: dict[str, object] = {"id": ["com.example.notes", ["1.2", 1]], "digested-measurement": [1, DIGEST]}


def entry(**changes: object) -> list[Any]:
    """One good entry with some members of its component replaced (underscores stand for hyphens)."""
    members = {name.replace("_", "-"): value for name, value in changes.items()}
    return [296, json.dumps(with_changes(COMPONENT, members))]


def test_reads_what_the_agent_writes() -> None:
    """Ids, versions and signers come through."""
    apps = [App(id="com.example.notes", version="1.2", signer_sha256=("ab" * 32, "cd" * 32)), App(id="a", version="0")]

    assert read_apps(measurements(apps)).apps == tuple(apps)


@pytest.mark.parametrize(
    ("change", "app"),
    [
        ({}, App(id="com.example.notes", version="1.2")),
        ({"id": ["a.b"]}, App(id="a.b")),
        ({"id": ["a.b", ["1"]]}, App(id="a.b", version="1")),
        ({"id": ["a.b", ["1", "multipartnumeric"]]}, App(id="a.b", version="1")),
        ({"digested_measurement": ["sha-256", DIGEST]}, App(id="com.example.notes", version="1.2")),
        ({"digested_measurement": OMIT, "raw_measurement": "AA"}, App(id="com.example.notes", version="1.2")),
    ],
)
def test_takes_every_form_of_the_standard(change: dict[str, object], app: App) -> None:
    """Version and scheme are optional, the measurement is of either kind."""
    assert read_apps([entry(**change)]).apps == (app,)


def test_an_app_that_is_installed_twice_stays_twice() -> None:
    """Clones are separate installations."""
    assert len(read_apps([entry(), entry(id=["com.example.notes", ["1.3"]])])) == 2


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, RejectionCode.MALFORMED),
        ({}, RejectionCode.MALFORMED),
        ([], RejectionCode.INCOMPLETE),
        ([entry()] * 2001, RejectionCode.TOO_LARGE),
        (["x"], RejectionCode.MALFORMED),
        ([[]], RejectionCode.MALFORMED),
        ([[296]], RejectionCode.MALFORMED),
        ([[296, 1]], RejectionCode.MALFORMED),
        ([["296", "{}"]], RejectionCode.MALFORMED),
        ([[297, "{}"]], RejectionCode.MALFORMED),
        ([[True, "{}"]], RejectionCode.MALFORMED),
        ([[258, "oA"]], RejectionCode.UNSUPPORTED),
        ([[295, "oA"]], RejectionCode.UNSUPPORTED),
        ([[296, "["]], RejectionCode.MALFORMED),
        ([[296, "[]"]], RejectionCode.MALFORMED),
        ([[296, '"\ud800"']], RejectionCode.MALFORMED),
        ([[296, '{"id":["a"],"id":["b"],"raw-measurement":"AA"}']], RejectionCode.MALFORMED),
        ([entry(id=OMIT)], RejectionCode.MALFORMED),
        ([entry(id="a.b")], RejectionCode.MALFORMED),
        ([entry(id=[])], RejectionCode.MALFORMED),
        ([entry(id=[""])], RejectionCode.MALFORMED),
        ([entry(id=["a\u200b"])], RejectionCode.MALFORMED),
        ([entry(id=["a" * 256])], RejectionCode.MALFORMED),
        ([entry(id=["a", "1"])], RejectionCode.MALFORMED),
        ([entry(id=["a", [1]])], RejectionCode.MALFORMED),
        ([entry(id=["a", ["1\n"]])], RejectionCode.MALFORMED),
        ([entry(id=["a", ["1" * 65]])], RejectionCode.MALFORMED),
        ([entry(id=["a", ["1", 1, 1]])], RejectionCode.MALFORMED),
        ([entry(flags="AAAAAAAAAAA")], RejectionCode.MALFORMED),
        ([entry(other=1)], RejectionCode.MALFORMED),
        ([entry(raw_measurement="AA")], RejectionCode.MALFORMED),
        ([entry(digested_measurement=OMIT)], RejectionCode.MALFORMED),
        ([entry(digested_measurement=OMIT, raw_measurement="A")], RejectionCode.MALFORMED),
        ([entry(digested_measurement=OMIT, raw_measurement=1)], RejectionCode.MALFORMED),
        ([entry(digested_measurement=[2, DIGEST])], RejectionCode.MALFORMED),
        ([entry(digested_measurement=[True, DIGEST])], RejectionCode.MALFORMED),
        ([entry(digested_measurement=[1, DIGEST[:-2]])], RejectionCode.MALFORMED),
        ([entry(digested_measurement=[1, 1])], RejectionCode.MALFORMED),
        ([entry(digested_measurement=DIGEST)], RejectionCode.MALFORMED),
        ([entry(authorities=[])], RejectionCode.MALFORMED),
        ([entry(authorities=DIGEST)], RejectionCode.MALFORMED),
        ([entry(authorities=[1])], RejectionCode.MALFORMED),
        ([entry(authorities=["AA"])], RejectionCode.MALFORMED),
        ([entry(authorities=[DIGEST] * 17)], RejectionCode.MALFORMED),
    ],
)
def test_a_list_is_read_whole_or_not_at_all(value: Any, code: RejectionCode) -> None:
    """One bad entry refuses the list, with a detail that names its place and not the app."""
    with pytest.raises(EvidenceRejected) as refused:
        read_apps(value)

    assert refused.value.code is code
    assert refused.value.detail.isprintable()
    assert "com.example" not in refused.value.detail
