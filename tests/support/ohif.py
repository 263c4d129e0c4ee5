"""The OHIF viewer as its makers ship it (npm ``@ohif/app``), behind nginx with the file of `docker/ohif`.

::

    with Ohif(tmp_path / "viewer", orthanc.url, gateway_url) as ohif:
        page.goto(f"{ohif.url}/viewer?StudyInstanceUIDs=...")

One origin, three parts: ``/dicom-web/`` is Orthanc's DICOMweb, ``/al/`` is the gateway, all else is the
viewer. The package is fetched once and kept (`fetch`).
"""

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from string import Template
from typing import Final, Self
from urllib.parse import urlsplit

from tests.conftest import ROOT, _missing
from tests.support.site import free_port, listens, wait_until

VERSION: Final = "3.13.2"


def cache() -> Path:
    """Return where what tests fetch from the package registries is kept."""
    named = os.environ.get("ORTHANC_AL_TEST_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "orthanc-al-tests"


def fetch() -> Path:
    """Return the viewer's ``dist`` folder, fetched with npm where it is not there yet; or skip."""
    if shutil.which("nginx") is None:
        _missing("the program nginx")
    dist = cache() / f"ohif-{VERSION}" / "package" / "dist"
    if (dist / "index.html").is_file():
        return dist
    if shutil.which("npm") is None:
        _missing("the OHIF viewer (npm fetches it)")
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        packed = subprocess.run(
            ["npm", "pack", "--silent", f"@ohif/app@{VERSION}"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        if packed.returncode:
            _missing(f"the OHIF viewer (npm pack: {packed.stderr.strip()[-300:]})")
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()
        # Whole or not at all: another run may look at it just now.
        Path(folder).rename(dist.parent.parent)
        Path(folder).mkdir()  # for the context manager to remove
    return dist


class Ohif:
    """The viewer behind nginx, with our configuration or with the one that is passed.

    Parameters
    ----------
    folder
        For the server's files.
    orthanc
        URL of an Orthanc with the DICOMweb plugin.
    gateway
        URL of the gateway's page.
    configuration
        Text of ``app-config.js``; ours where it is left out.
    """

    def __init__(self, folder: Path, orthanc: str, gateway: str, configuration: str | None = None) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        viewer = folder / "viewer"
        viewer.mkdir(parents=True)
        for part in fetch().iterdir():
            if part.name != "app-config.js":
                (viewer / part.name).symlink_to(part)
        ours = (ROOT / "docker/ohif/app-config.js").read_text()
        (viewer / "app-config.js").write_text(ours if configuration is None else configuration)
        text = (ROOT / "docker/ohif/nginx.conf").read_text().replace("/tmp/viewer", str(folder))
        text = text.replace("/dev/stderr", str(folder / "error.log"))
        values = {
            "RESOLVER": "127.0.0.1",  # no name is asked of it: both are addresses
            "LISTEN": f"127.0.0.1:{port}",
            "VIEWER": str(viewer),
            "GATEWAY": gateway,
            "ORTHANC": orthanc,
            "ORTHANC_BASIC": "eDp5",  # Orthanc asks for none here
        }
        (folder / "nginx.conf").write_text(Template(text).safe_substitute(values))

    def __enter__(self) -> Self:
        # As root its workers would be nobody, who may not look into the folder that npm's files are in.
        options = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        log, settings = self._folder / "error.log", self._folder / "nginx.conf"
        self._process = subprocess.Popen(["nginx", "-e", log, "-c", settings, "-g", options])
        port = urlsplit(self.url).port
        assert port is not None
        wait_until(lambda: listens(port), 20, f"nginx does not listen: {log}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
