"""The OHIF viewer as its makers ship it (npm ``@ohif/app``), behind a small server, as `docker/ohif` does it.

::

    with Ohif(orthanc.url, gateway_url) as ohif:
        page.goto(f"{ohif.url}/viewer?StudyInstanceUIDs=...")

One origin, three parts: ``/dicom-web/`` is Orthanc's DICOMweb, ``/al/`` is the gateway, all else is the
viewer. The package is fetched once and kept (`fetch`).
"""

import http.client
import http.server
import json
import os
import posixpath
import shutil
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from tests.conftest import ROOT, _missing

VERSION: Final = "3.13.2"
_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
_HOP_BY_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


def cache() -> Path:
    """Return where what tests fetch from the package registries is kept."""
    named = os.environ.get("ORTHANC_AL_TEST_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "orthanc-al-tests"


def fetch() -> Path:
    """Return the viewer's ``dist`` folder, fetched with npm where it is not there yet; or skip."""
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
    """The viewer with our configuration, or with the one that is passed.

    Parameters
    ----------
    orthanc
        URL of an Orthanc with the DICOMweb plugin.
    gateway
        URL of the gateway's page; empty where the viewer stands alone.
    configuration
        Text of ``app-config.js``; ours where it is left out.
    """

    def __init__(self, orthanc: str, gateway: str = "", configuration: str | None = None) -> None:
        text = (ROOT / "docker/ohif/app-config.js").read_text() if configuration is None else configuration
        handler = type(
            "Handler",
            (_Handler,),
            {"dist": fetch(), "configuration": text.encode(), "orthanc": orthanc, "gateway": gateway},
        )
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    dist: Path
    configuration: bytes
    orthanc: str
    gateway: str

    def do_GET(self) -> None:
        """Serve a file of the viewer, or pass on."""
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/dicom-web/"):
            self._pass_on(self.orthanc, self.path)
        elif path.startswith("/al/") and self.gateway:
            self._pass_on(self.gateway, self.path.removeprefix("/al"))
        elif path == "/app-config.js":
            self._answer(200, "text/javascript", self.configuration)
        else:
            self._file(path)

    def do_POST(self) -> None:
        """Pass on."""
        self.do_GET()

    def _file(self, path: str) -> None:
        file = self.dist / posixpath.normpath(path).lstrip("/")
        if not file.is_file():
            file = self.dist / "index.html"  # the viewer's own routes
        kind = _TYPES.get(file.suffix, "application/octet-stream")
        self._answer(200, kind, file.read_bytes())

    def _pass_on(self, base: str, path: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        kept = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
        kept["Host"] = self.headers["Host"]
        target = http.client.HTTPConnection(urlsplit(base).netloc, timeout=60)
        try:
            target.request(self.command, path, body, kept)
            answer = target.getresponse()
            content = answer.read()
        except OSError as error:
            self._answer(502, "application/json", json.dumps({"error": str(error)}).encode())
            return
        finally:
            target.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
