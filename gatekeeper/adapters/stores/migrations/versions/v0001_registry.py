"""The registry: devices, their identifiers and attestation results, nonces, token ids, and the feed of changes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "device",
        sa.Column("device_id", sa.String, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("platform", sa.String, nullable=False),
        sa.Column("device_class", sa.String, nullable=False),
        sa.Column("ownership", sa.String),
        sa.Column("identifiers", sa.Text, nullable=False),
    )
    op.create_index("ix_device_account", "device", ["account"])
    op.create_table(
        "device_identifier",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("value", sa.String, primary_key=True),
        sa.Column("device_id", sa.String, sa.ForeignKey("device.device_id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("uq_device_identifier_device_id", "device_identifier", ["device_id", "kind"], unique=True)
    op.create_table(
        "attestation_result",
        sa.Column("device_id", sa.String, sa.ForeignKey("device.device_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("scope", sa.String, primary_key=True),
        sa.Column("collected_at", sa.BigInteger, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("evidence_sha256", sa.String, nullable=False),
        sa.Column("apps", sa.Text, nullable=False),
    )
    op.create_table(
        "nonce",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("device_id", sa.String, sa.ForeignKey("device.device_id", ondelete="CASCADE"), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_nonce_device_id", "nonce", ["device_id"])
    op.create_index("ix_nonce_expires", "nonce", ["expires"])
    op.create_table(
        "token_id",
        sa.Column("jti", sa.String, primary_key=True),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_token_id_expires", "token_id", ["expires"])
    op.create_table(
        "change",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("device_id", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop every table."""
    for table in ("change", "token_id", "nonce", "attestation_result", "device_identifier", "device"):
        op.drop_table(table)
