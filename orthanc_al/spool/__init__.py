"""The spool: one Part 10 file a receive event, durable before anybody is told that we have it."""

from orthanc_al.spool.folder import Spool, SpooledFile, own_instance_id
from orthanc_al.spool.writer import SpoolWriter

__all__ = ["Spool", "SpoolWriter", "SpooledFile", "own_instance_id"]
