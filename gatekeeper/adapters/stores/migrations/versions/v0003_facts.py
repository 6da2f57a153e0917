"""When a device was first seen, and what its evidence says of it as a whole."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of devices that are registered already it stays unknown when."""
    op.add_column("device", sa.Column("first_seen", sa.BigInteger))
    op.add_column("attestation_result", sa.Column("stated", sa.Text))
    op.add_column("posture", sa.Column("stated", sa.Text))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("posture", "stated")
    op.drop_column("attestation_result", "stated")
    op.drop_column("device", "first_seen")
