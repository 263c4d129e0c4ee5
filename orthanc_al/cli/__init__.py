"""The command line: ``orthanc-al``. Exit status 0 done, 1 failed, 2 usage or configuration."""

from orthanc_al.cli.app import main

__all__ = ["main"]
