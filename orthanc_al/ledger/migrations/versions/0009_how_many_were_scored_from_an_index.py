"""How many studies were scored lately is read from an index alone."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_predictions_scored", table_name="predictions")
    op.create_index("ix_predictions_scored", "predictions", ["scored_at", "study_instance_uid"])


def downgrade() -> None:
    op.drop_index("ix_predictions_scored", table_name="predictions")
    op.create_index("ix_predictions_scored", "predictions", ["scored_at"])
