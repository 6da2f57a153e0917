"""The tables of the registry.

Instants are whole microseconds since 1970 (exact, ordered, the same on every database). `change` is the feed that
tells every process what to forget: its `seq` only grows, and every write that changes what a decision could see adds
at least one row, so that `max(seq)` is the version of the whole registry.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(instant: datetime) -> int:
    """Since 1970; a naive datetime is a fault of ours and raises TypeError."""
    return (instant - _EPOCH) // _MICROSECOND


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To the database; a naive datetime is a fault of ours and raises."""
        _ = dialect
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """From the database. Raises ValueError for what is no instant."""
        _ = dialect
        if value is None:
            return None
        try:
            return _EPOCH + value * _MICROSECOND
        except (TypeError, OverflowError):
            raise ValueError("not microseconds since 1970") from None


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

device = Table(
    "device",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("account", String, nullable=False, index=True),
    Column("platform", String, nullable=False),
    Column("device_class", String, nullable=False),
    Column("ownership", String),
    Column("identifiers", Text, nullable=False),
    Column("first_seen", Instant),
)
"""`identifiers` is a JSON object; `device_identifier` holds the same, to find a device by one of them."""

device_identifier = Table(
    "device_identifier",
    metadata,
    Column("kind", String, primary_key=True),
    Column("value", String, primary_key=True),
    Column("device_id", String, ForeignKey("device.device_id", ondelete="CASCADE"), nullable=False),
    Index("uq_device_identifier_device_id", "device_id", "kind", unique=True),
)

attestation_result = Table(
    "attestation_result",
    metadata,
    Column("device_id", String, ForeignKey("device.device_id", ondelete="CASCADE"), primary_key=True),
    Column("source", String, primary_key=True),
    Column("scope", String, primary_key=True),
    Column("collected_at", Instant, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("evidence_sha256", String, nullable=False),
    Column("apps", Text, nullable=False),
    Column("stated", Text),
)
"""`stated` is what the evidence says of the device as a whole (`codec.encode_stated`)."""

nonce = Table(
    "nonce",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("device_id", String, ForeignKey("device.device_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires", Instant, nullable=False, index=True),
)

token_id = Table(
    "token_id",
    metadata,
    Column("jti", String, primary_key=True),
    Column("expires", Instant, nullable=False, index=True),
)

change = Table(
    "change",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("device_id", String, nullable=False),
    Column("account", String, nullable=False),
    Column("at", Instant, nullable=False),
    Column("kind", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)

posture = Table(
    "posture",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("device_id", String, ForeignKey("device.device_id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("revision", BigInteger, nullable=False),
    Column("source", String),
    Column("scope", String),
    Column("complete", Boolean),
    Column("collected_at", Instant),
    Column("evidence_sha256", String),
    Column("apps_count", Integer),
    Column("absences", Integer),
    Column("stated", Text),
    sqlite_autoincrement=True,
)
"""What is known about a device now, folded of all its results, without the apps: a narrow row that can be read for
every device. `number` stands for the device in `device_app`; without evidence the columns after `revision` are null."""

app = Table(
    "app",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("facts", Text, nullable=False, unique=True),
)
"""Every app that was ever seen, without its version (`codec.encode_kind`)."""

device_app = Table(
    "device_app",
    metadata,
    Column("app", Integer, primary_key=True, autoincrement=False),
    Column("device", Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
"""Which devices have an app on any of their lists: the index that a new rule is looked up in. No foreign keys: they
would want a second index of the same size; whoever removes a device removes its pairs."""

past_posture = Table(
    "past_posture",
    metadata,
    Column("device_id", String, ForeignKey("device.device_id", ondelete="CASCADE"), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("until", Instant, nullable=False, index=True),
    Column("facts", Text, nullable=False),
    Column("added", Text, nullable=False),
    Column("removed", Text, nullable=False),
)
"""What a device's posture was before, kept for some days so that past decisions can be performed again: its facts, and
the apps to add to and to remove from the next newer posture."""
