"""The entrance of a child of the supervisor: it leaves out what libraries load and the role has no use for.

pydicom takes NumPy, Pillow, GDCM and pylibjpeg where they are there, for pixels, structlog takes rich, for
its colours, and SQLAlchemy greenlet, for asyncio; the listener looks at no pixels, writes plain lines, has
threads, and is to be small. Their import fails from here on, which all of them foresee.
"""

import sys
from importlib import import_module
from typing import Final

_NOT_WANTED: Final = {"listener": ("numpy", "PIL", "gdcm", "pylibjpeg", "rich", "greenlet")}


def main() -> int:
    """Be the child that the command line names."""
    for name in _NOT_WANTED.get(sys.argv[1] if len(sys.argv) > 1 else "", ()):
        sys.modules[name] = None  # type: ignore[assignment]  # so that to import it fails
    return int(import_module("orthanc_al.service.child").main())


if __name__ == "__main__":
    sys.exit(main())
