"""What must never be forgotten, in SQL: schema, migrations, queries and the work queue.

Stages meet here and nowhere else. A module a subject; each function takes the connection of the caller's
transaction, so that what belongs together commits together.
"""

from orthanc_al.ledger.engine import Ledger
from orthanc_al.ledger.queue import Job, Outcome, WorkQueue
from orthanc_al.ledger.upserts import upsert
from orthanc_al.ledger.waiting import enqueue
from orthanc_al.ledger.work import Stage, Worker

__all__ = ["Job", "Ledger", "Outcome", "Stage", "WorkQueue", "Worker", "enqueue", "upsert"]
