"""Postures at a glance, the index from apps to devices, and the postures of the last days."""

import sqlalchemy as sa
from alembic import op

from gatekeeper.adapters.stores.sketch import fill

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and fill them from what is on record."""
    op.create_table(
        "posture",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("device_id", sa.String, sa.ForeignKey("device.device_id", ondelete="CASCADE"), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("source", sa.String),
        sa.Column("scope", sa.String),
        sa.Column("complete", sa.Boolean),
        sa.Column("collected_at", sa.BigInteger),
        sa.Column("evidence_sha256", sa.String),
        sa.Column("apps_count", sa.Integer),
        sa.Column("absences", sa.Integer),
        sa.UniqueConstraint("device_id", name="uq_posture_device_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "app",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("facts", sa.Text, nullable=False),
        sa.UniqueConstraint("facts", name="uq_app_facts"),
    )
    op.create_table(
        "device_app",
        sa.Column("app", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("device", sa.Integer, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "past_posture",
        sa.Column("device_id", sa.String, sa.ForeignKey("device.device_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("added", sa.Text, nullable=False),
        sa.Column("removed", sa.Text, nullable=False),
    )
    op.create_index("ix_past_posture_until", "past_posture", ["until"])
    fill(op.get_bind())


def downgrade() -> None:
    """Drop them."""
    for table in ("past_posture", "device_app", "app", "posture"):
        op.drop_table(table)
