"""What was found in Orthanc by following its changes."""

from sqlalchemy import Column, Float, Index, Integer, String, Table, Text, text

from orthanc_al.ledger.schema.base import metadata

# One row an instance of Orthanc that has been looked at: the sweep takes what has none.
orthanc_instances = Table(
    "orthanc_instances",
    metadata,
    Column("orthanc_id", String(44), primary_key=True),  # Orthanc's own id: a digest of four UIDs
    # taken | ours (we sent it there) | before (it was there before we began) | failed (see reason)
    Column("state", String(8), nullable=False),
    Column("seq", Integer, nullable=False),  # of the change that told of it, or the newest one at the sweep
    Column("instance_id", String(32)),
    Column("reason", Text),
    Column("seen_at", Float, nullable=False),
    Index("ix_orthanc_instances_failed", "state", sqlite_where=text("state = 'failed'")),
)
