"""The worklist page, the API, and what monitoring asks for: all of it reads the ledger, nothing else."""

from orthanc_al.web.app import create_app

__all__ = ["create_app"]
