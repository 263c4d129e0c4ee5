"""The configuration: TOML < environment < secrets folder, checked as a whole, then frozen.

Unknown keys are errors, all faults are told at once with their keys, and relative paths belong to the
folder of the configuration file. ``config/orthanc-al.toml`` has every key with its comment.
"""

from orthanc_al.settings.loading import Settings, load
from orthanc_al.settings.sections import LOOPBACK, Model, Peer

__all__ = ["LOOPBACK", "Model", "Peer", "Settings", "load"]
