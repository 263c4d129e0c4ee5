"""What files lie on, and whether it keeps what fsync(2) says: what "acknowledged means durable" rests on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from orthanc_al.settings import Settings

_MEMORY: Final = ("tmpfs", "ramfs")
_VOLATILE: Final = {"volatile", "fsync=volatile"}  # overlay: fsync returns and does nothing
_NO_BARRIERS: Final = {"nobarrier", "barrier=0"}
_WITHOUT_JOURNAL: Final = ("ext2", "vfat", "exfat", "msdos")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_DEVICES: Final = Path("/sys/dev/block")
_EXT4: Final = Path("/sys/fs/ext4")


@dataclass(frozen=True, slots=True)
class Ground:
    """A mounted file system.

    Attributes
    ----------
    kind
        As the system calls it, e.g. ``ext4``.
    options
        That it is mounted with, those of the file system too.
    journal
        Whether it has a journal, None where that is not known.
    """

    kind: str
    options: frozenset[str]
    journal: bool | None = None

    def doubts(self, *, moves: bool) -> Iterator[str]:
        """Yield what a power cut may do to files that were forced to the disk.

        Parameters
        ----------
        moves
            Whether a move of a file, which was not forced, has to be whole or undone after it.
        """
        if self.kind in _MEMORY:
            yield f"it is in memory ({self.kind}): a power cut takes all of it, acknowledged or not"
        if self.options & _VOLATILE:
            yield f"its file system ({self.kind}) is mounted volatile: fsync does nothing there"
        if self.options & _NO_BARRIERS:
            yield (
                f"its file system ({self.kind}) is mounted without barriers: what was acknowledged is safe "
                "only where the disk's cache has a battery"
            )
        if moves and (self.kind in _WITHOUT_JOURNAL or self.journal is False):
            yield (
                f"its file system ({self.kind}) has no journal: a power cut may leave half a move; take "
                "one with a journal, or set storage.prepared_files = 0"
            )


def ground_of(path: Path) -> Ground | None:
    """Return what a file or folder lies on, None where the system does not tell."""
    try:
        number = path.stat().st_dev
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    device = f"{os.major(number)}:{os.minor(number)}"
    found = [line for line in lines if line.split(" ", 3)[2:3] == [device]]
    return _parsed(found[-1], device) if found else None


def doubts(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield which place, and what a power cut may do to what is there."""
    places = [("spool", settings.storage.spool, settings.storage.prepared_files > 0)]
    database = make_url(settings.storage.ledger)
    if database.drivername.startswith("sqlite") and database.database:
        places.append(("ledger", Path(database.database).parent, False))
    for subject, place, moves in places:
        ground = ground_of(place)
        for doubt in ground.doubts(moves=moves) if ground is not None else ():
            yield subject, doubt


def _parsed(line: str, device: str) -> Ground:
    """Read a line of mountinfo (proc(5)): behind the dash are the kind, the source and more options."""
    mounted, _, system = line.partition(" - ")
    kind, _, options = system.split(" ", 2)
    both = [*mounted.split(" ")[5].split(","), *options.split(",")]
    return Ground(kind, frozenset(both), _has_journal(device) if kind == "ext4" else None)


def _has_journal(device: str) -> bool | None:
    try:
        name = (_DEVICES / device).resolve().name
        return (_EXT4 / name / "journal_task").read_text().strip() != "<none>"
    except OSError:
        return None
