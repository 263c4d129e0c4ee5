"""The listener without fsync, for comparison with receivers that promise nothing: never a way to run it.

``python -m tests.bench.unsynced CONFIG`` is ``orthanc-al serve --role listener`` where nothing is forced to
the disk. There is no such switch in the product.
"""

import os
import sys

from orthanc_al.cli import main


def _forget(_: int) -> None:
    """Promise what fsync would have done."""


if __name__ == "__main__":
    os.fsync = _forget  # type: ignore[assignment]
    sys.argv = ["orthanc-al", "--config", sys.argv[1], "serve", "--role", "listener"]
    main()
