"""Watches what the model is used on: drift, performance on the audit, the burden, and the guarantee."""

from orthanc_al.monitor.guarantee import Promise
from orthanc_al.monitor.stage import MonitorStage, Watch

__all__ = ["MonitorStage", "Promise", "Watch"]
