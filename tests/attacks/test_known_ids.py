"""Every known attack has its test here, or stands below with the reason why it has none.

A test carries the id in its name: as an id of its parameters (`I70-refused` is a neighbour of `I70`), or as a part of
the function's name (`test_i73_…`).
"""

import re
from pathlib import Path

KNOWN = {
    "I": "01 02 03 04 06 07 08 09 10 11 13 15 16 17 19 20 23 24 25 26 28 30 31 32 33 34 35 37 39 40 42 43 50 51 52 53 "
    "55 57 58 60 62 63 64 65 66 67 68 69 70 72 73 74",
    "T": "01 02 03 04 05 08 09 10 11 13 14 15 16 18",
    "D": "01 03 04 05 08 09",
    "O": "01 02 04 06 07 08 09 10 11 13",
    "E": "01 03",
    "U": "01 03 04 06 07 09 10 12 14 15 16 17 18 19",
    "S": "01 02 03 04 05 07 08 09 10 12 14 15 16 17 19 20 30 31 32 34 36 38 39 41 42 43",
    "P": "02 03 04 06 07 10 11",
    "M": "01 03",
    "G": "01 03 04 06 07",
}

NOT_APPLICABLE = {
    "O08": "tokens are not judged here: the mail server does, and gets the client's response octet by octet (O06). "
    "Signed evidence is judged here: there `none`, another algorithm, key or audience are refused, and `kid` is ignored "
    "(tests/unit/attestation)",
}

_HERE = Path(__file__).parent
_TABLES = (_HERE.parent / "testkit" / "imap_rows.py", _HERE.parent / "testkit" / "smtp_talks.py")


def every_id() -> set[str]:
    """Return every id."""
    return {f"{kind}{number}" for kind, numbers in KNOWN.items() for number in numbers.split()}


def ids_in_tests() -> set[str]:
    """Return the ids in names of tests and of their parameters."""
    sources = [path.read_text() for path in (*_HERE.glob("test_*.py"), *_TABLES) if path != Path(__file__)]
    text = "\n".join(sources)
    in_names = {part.upper() for name in re.findall(r"def test_((?:[a-z]\d\d_)+)", text) for part in name.split("_")}
    return set(re.findall(r'"([A-Z]\d\d)(?=[- "])', text)) | {id_ for id_ in in_names if id_}


def test_every_known_attack_is_tested_or_listed() -> None:
    """No id is lost: it is tested, or there is a reason; never both."""
    listed = NOT_APPLICABLE.keys()

    assert len(every_id()) == 138
    assert every_id() - ids_in_tests() - listed == set()
    assert listed & ids_in_tests() == set()
    assert (ids_in_tests() | listed) - every_id() == set()
    assert all(NOT_APPLICABLE.values())
