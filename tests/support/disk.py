"""A disk of its own, whose power is cut: an ext4 image, shut down so that neither its cache nor its journal's
buffers reach it (EXT4_IOC_SHUTDOWN without a log flush), then mounted again."""

import fcntl
import os
import struct
import subprocess
from pathlib import Path
from typing import Final

_SHUTDOWN: Final = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
_NO_LOG_FLUSH: Final = 2
BLOCK: Final = 4096
SIZE: Final = 64 << 20


class Disk:
    """The disk; ``mounted`` is its folder."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "disk.ext4"
        self.mounted = folder / "disk"
        self.mounted.mkdir()
        with self.image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run(["/sbin/mkfs.ext4", "-q", "-b", str(BLOCK), self.image], check=True)

    def mount(self) -> None:
        """Have the folder; needs root and a loop device."""
        subprocess.run(
            ["mount", "-o", "loop,commit=600", self.image, self.mounted], check=True, capture_output=True
        )

    def cut_the_power(self) -> None:
        """Lose what is not on the disk, and come back."""
        self.shut_down()
        self.unmount()
        self.mount()

    def shut_down(self) -> None:
        """Lose what is not on the disk; who has files open there closes them before it is unmounted."""
        handle = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(handle)

    def unmount(self) -> None:
        """Let go of the folder."""
        subprocess.run(["umount", self.mounted], check=True)
