"""Learns from confirmed reads: snapshot, fit, calibrate, judge, and promote or keep."""

from orthanc_al.learn.cache import InputKeeper
from orthanc_al.learn.fit import Guarantee
from orthanc_al.learn.pccp import Plan, load_plan
from orthanc_al.learn.stage import RetrainStage

__all__ = ["Guarantee", "InputKeeper", "Plan", "RetrainStage", "load_plan"]
