"""What an instance is, and when its study is complete."""

from orthanc_al.assemble.arrive import ArriveStage
from orthanc_al.assemble.stage import AssembleStage

__all__ = ["ArriveStage", "AssembleStage"]
