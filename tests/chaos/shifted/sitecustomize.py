"""Shifts `time.time` by the seconds in the file that ORTHANC_AL_CHAOS_CLOCK names (tests/chaos/clocks.py).

Python imports it by itself in every process that has its folder in PYTHONPATH.
"""

import os
import time

_file = os.environ.get("ORTHANC_AL_CHAOS_CLOCK")
_true = time.time


def _shifted() -> float:
    with open(str(_file), encoding="ascii") as file:  # noqa: PTH123 - before anything is imported
        return _true() + float(file.read() or 0)


if _file:
    time.time = _shifted
