"""What the monitor saw, day by day."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, String, Table, Text

from orthanc_al.ledger.schema.base import metadata

# One row a day that is over, model, finding, measure and part; looked at again, it is written over.
monitor_points = Table(
    "monitor_points",
    metadata,
    Column("model_name", String(64), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("measure", String(32), primary_key=True),
    Column("finding", String(64), primary_key=True),  # empty: of the model, or of the whole service
    Column("part", String(128), primary_key=True),  # a group of studies, where the measure has such
    Column("value", Float, nullable=False),
    Column("low", Float),  # 95 % interval
    Column("high", Float),
    Column("p_value", Float),
    Column("cases", Integer, nullable=False),
    Column("alarm", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_monitor_points_day", "day"),
)
