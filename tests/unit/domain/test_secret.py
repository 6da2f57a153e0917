"""Secrets do not show themselves."""

import logging
import traceback
from dataclasses import dataclass

import pytest

from gatekeeper.domain.secret import Secret

PASSWORD = "correct horse"


@dataclass(frozen=True)
class _Holder:
    password: Secret[str]


@pytest.mark.parametrize(
    "text",
    [
        repr(Secret(PASSWORD)),
        str(Secret(PASSWORD)),
        f"{Secret(PASSWORD)} {Secret(PASSWORD)!r}",
        "{}".format(Secret(PASSWORD)),  # noqa: UP032  another way into a text
        "%s %r" % (Secret(PASSWORD), Secret(PASSWORD)),  # noqa: UP031  likewise
        repr(_Holder(Secret(PASSWORD))),
        repr([Secret(PASSWORD.encode())]),
        repr(vars(Secret)),
    ],
)
def test_a_secret_is_not_shown(text: str) -> None:
    """In no form of text."""
    assert PASSWORD not in text
    assert "horse" not in text


def test_a_secret_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nor by a log or a traceback."""
    error = ValueError(Secret(PASSWORD))
    logging.getLogger("x").warning("failed: %s", Secret(PASSWORD), exc_info=error)
    shown = "".join(traceback.format_exception(error))
    assert "Secret(…)" in shown
    assert PASSWORD not in shown + caplog.text


def test_a_secret_is_opened_by_name() -> None:
    """The one way to the value."""
    assert Secret(PASSWORD).declassify() == PASSWORD


def test_a_secret_has_no_other_members() -> None:
    """Nothing to dump by `vars` or JSON."""
    assert not hasattr(Secret(PASSWORD), "__dict__")
