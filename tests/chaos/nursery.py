"""Forks the service's processes and kills them at random moments, many a second.

A process of the service needs a second to be loaded, and its supervisor makes one wait that dies again and
again: five hundred kills would take hours. Here everything is loaded once; each process is a fork of that,
runs the very code of `orthanc_al.service.child`, and is forked anew as soon as it is dead.

``python -m tests.chaos.nursery --config FILE --kills 500 --seed 1 ROLE...`` writes what it did into
``--tell`` (JSON) when the kills are done, and goes on without killing until SIGTERM.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orthanc_al.service import child, roles

SHORTEST = 0.05
LONGEST = {"worker": 8.0}
_LONGEST = 2.5
"""Seconds from a process's start to its death: while it starts, or while it works. A worker that never lives
as long as a job takes would have its jobs set aside: it can't tell who kills it."""


@dataclass
class Told:
    """What was done: how often each role was killed, and which died by themselves."""

    killed: dict[str, int] = field(default_factory=dict)
    lifetimes: list[float] = field(default_factory=list)
    died: list[str] = field(default_factory=list)


class Nursery:
    """Keeps one process for each role, and kills as many as it is told to.

    Parameters
    ----------
    config
        The site's configuration file.
    names
        Roles.
    kills
        How many.
    seed
        Of the lifetimes.
    """

    def __init__(self, config: Path, names: Sequence[str], kills: int, seed: int) -> None:
        self._config = config
        self._rng = random.Random(seed)
        self._left = kills
        self._stopping = False
        self._pids: dict[str, int] = {}
        self._until: dict[str, float] = {}
        self._names = names
        self.told = Told(killed=dict.fromkeys(names, 0))

    def run(self, tell: Path) -> None:
        """Kill, tell, and look after the processes until SIGTERM."""
        signal.signal(signal.SIGTERM, self._stop)
        for name in self._names:
            self._fork(name)
        while not self._stopping:
            for name in self._names:
                self._look_after(name)
            if not self._left and not tell.exists():
                self._write(tell)
            time.sleep(0.005)
        self._end()
        self._write(tell)

    def _look_after(self, name: str) -> None:
        pid = self._pids[name]
        if self._left and time.monotonic() >= self._until[name]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._left -= 1
            self.told.killed[name] += 1
            self._fork(name)
        elif os.waitpid(pid, os.WNOHANG)[0]:
            self.told.died.append(name)
            time.sleep(0.5)
            self._fork(name)

    def _fork(self, name: str) -> None:
        lifetime = self._rng.uniform(SHORTEST, LONGEST.get(name, _LONGEST))
        self.told.lifetimes.append(lifetime)
        sys.stdout.flush()
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            self._be(name, parent)
        self._pids[name], self._until[name] = pid, time.monotonic() + lifetime

    def _be(self, name: str, parent: int) -> None:
        """Be the process of a role; never returns."""
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setsid()
            status = child.main([name, "--parent", str(parent), "--config", str(self._config)])
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _end(self) -> None:
        for pid in self._pids.values():
            os.kill(pid, signal.SIGTERM)
        for pid in self._pids.values():
            os.waitpid(pid, 0)

    def _write(self, tell: Path) -> None:
        unfinished = tell.with_suffix(".part")
        unfinished.write_text(json.dumps(vars(self.told)))
        unfinished.replace(tell)


def main() -> int:
    """Run a nursery."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--tell", type=Path, required=True)
    parser.add_argument("roles", nargs="+")
    asked = parser.parse_args()
    for name in asked.roles:
        roles.runner(name)  # loads what the role needs
    Nursery(asked.config, asked.roles, asked.kills, asked.seed).run(asked.tell)
    return 0


if __name__ == "__main__":
    sys.exit(main())
