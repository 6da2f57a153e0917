"""Tables: what the columns keep."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import sqlite

from gatekeeper.adapters.stores.tables import Instant

DIALECT = sqlite.dialect()


@pytest.mark.parametrize(
    "instant",
    [
        datetime(2020, 7, 10, 16, 20, 0, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
    ids=["microsecond", "before-1970", "last"],
)
def test_an_instant_comes_back_to_the_microsecond(instant: datetime) -> None:
    """Whole numbers lose nothing, unlike seconds as a fraction."""
    column = Instant()

    assert column.process_result_value(column.process_bind_param(instant, DIALECT), DIALECT) == instant


def test_an_instant_of_another_zone_is_the_same_instant() -> None:
    """What is compared in the database is the instant, not its spelling."""
    west = datetime(2020, 7, 10, 9, 0, tzinfo=timezone(timedelta(hours=-7)))

    column = Instant()
    assert column.process_bind_param(west, DIALECT) == column.process_bind_param(west.astimezone(UTC), DIALECT)


def test_a_naive_datetime_is_refused() -> None:
    """Whoever forgets the zone is told, instead of being given some zone."""
    with pytest.raises(TypeError):
        Instant().process_bind_param(datetime(2020, 7, 10), DIALECT)  # noqa: DTZ001  the fault under test


@pytest.mark.parametrize("stored", ["yesterday", 2**63 - 1, -(2**63)])
def test_what_is_no_instant_is_said(stored: int) -> None:
    """A damaged row has one exception."""
    with pytest.raises(ValueError, match="not microseconds"):
        Instant().process_result_value(stored, DIALECT)


def test_an_absent_instant_stays_absent() -> None:
    """An outer join finds nothing."""
    assert Instant().process_bind_param(None, DIALECT) is None
    assert Instant().process_result_value(None, DIALECT) is None
