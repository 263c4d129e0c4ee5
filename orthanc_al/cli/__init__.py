"""The command line: ``orthanc-al``. Exit status 0 done, 1 failed, 2 usage or configuration."""

import sys


def main() -> None:
    """Run a command; Ctrl-C while the program is still being loaded ends it without a traceback too."""
    try:
        from orthanc_al.cli.app import main as run  # noqa: PLC0415 - this is what takes a second

        run()
    except KeyboardInterrupt:
        sys.exit(130)


__all__ = ["main"]
