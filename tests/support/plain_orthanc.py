"""Orthanc in the caller's own network: only for the benchmark, which has a namespace to itself."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self

from tests.support.site import free_port, listens, wait_until


class PlainOrthanc:
    """An Orthanc with its defaults, its storage in ``folder``.

    Parameters
    ----------
    lua
        A script that it runs, for example to route what arrives.
    modalities
        AE title, host and port of its peers by name.
    """

    def __init__(
        self, folder: Path, lua: str = "", modalities: dict[str, tuple[str, str, int]] | None = None
    ) -> None:
        if os.environ.get("ORTHANC_AL_BENCH_NAMESPACE") != "yes":
            raise RuntimeError("Orthanc binds all addresses: run it in a network namespace (make bench does)")
        self.ae_title = "ORTHANC"
        self.dicom_port = free_port()
        self.http_port = free_port()
        self._folder = folder
        folder.mkdir(parents=True)
        configuration: dict[str, Any] = {
            "Name": "bench",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "DicomAlwaysAllowStore": True,
            "DicomCheckCalledAet": False,
            "AuthenticationEnabled": False,
            "RemoteAccessAllowed": False,
            "StableAge": 5,
            "DicomModalities": {name: list(place) for name, place in (modalities or {}).items()},
        }
        if lua:
            (folder / "route.lua").write_text(lua)
            configuration["LuaScripts"] = [str(folder / "route.lua")]
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "it is not started"
        return self._process.pid

    def __enter__(self) -> Self:
        """Start it and wait until it listens."""
        with (self._folder / "orthanc.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["Orthanc", str(self._folder / "orthanc.json")],
                stdout=log,
                stderr=log,
                env={**os.environ, "TCP_NODELAY": "1"},
            )
        wait_until(lambda: listens(self.dicom_port) and listens(self.http_port), 60)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
