"""A real Orthanc in a network namespace of its own, reached through ports of this machine's 127.0.0.1.

Orthanc binds all addresses and no key changes that, so that a test must not start it in the network that
it finds. Here it lives in a namespace without any network but its own loopback; sockets of that namespace
are handed over by `namespace_entry` and relayed.

::

    with Orthanc(tmp_path, modalities={"GATEWAY": ("ORTHANC_AL", 11112)}) as orthanc:
        orthanc.url          # http://127.0.0.1:... of its REST API
        orthanc.dicom_port   # on 127.0.0.1; its AE title is orthanc.ae_title
        orthanc.get("/studies")
        orthanc.stop(); orthanc.start()      # same ports, same storage

``modalities`` are DICOM peers on this machine's 127.0.0.1 that Orthanc may send to.
"""

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

_ENTRY = Path(__file__).with_name("namespace_entry.py")
# Another system's Orthanc in this folder (`make test-orthanc-current`): run by chroot, its files inside.
_ROOT = os.environ.get("ORTHANC_AL_TEST_ORTHANC_ROOT", "")
PLUGINS = Path("/usr/share/orthanc/plugins")
_HTTP_INSIDE, _DICOM_INSIDE = 8042, 4242
_START_SECONDS = 60.0

DICOMWEB: Mapping[str, Any] = {
    "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
}
"""Settings of an Orthanc that viewers ask."""


class Namespace:
    """A program in a network namespace without a network, and the relays to and from it.

    Parameters
    ----------
    command
        The program and its arguments.
    log
        File for what the program writes.
    environment
        Variables beside this process's own.
    """

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Without root, a user namespace gives the right to make a network namespace.
        unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
        with log.open("ab") as output, theirs:
            self._process = subprocess.Popen(
                [*unshare, sys.executable, "-I", str(_ENTRY), str(theirs.fileno()), *command],
                pass_fds=[theirs.fileno()],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
        self._control = ours
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Process in the namespace, for ``nsenter -t PID -n`` where that is allowed."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the program runs."""
        return self._process.poll() is None

    def connect(self, port: int) -> socket.socket:
        """Return a socket of the namespace, connected to its 127.0.0.1:``port``."""
        return self._lent("connect", port)

    def listen(self, port: int) -> socket.socket:
        """Return a socket of the namespace that listens on its 127.0.0.1:``port``."""
        return self._lent("listen", port)

    def close(self) -> None:
        """End the program and wait for it."""
        with self._lock:
            self._control.close()
        self._process.wait(30)

    def kill(self) -> None:
        """Kill -9 the program."""
        with self._lock:
            self._control.send(b"kill 0")
        self._process.wait(30)
        self._control.close()

    def _lent(self, verb: str, port: int) -> socket.socket:
        with self._lock:
            try:
                self._control.send(f"{verb} {port}".encode())
                answer, fds, _, _ = socket.recv_fds(self._control, 1024, 1)
            except OSError as error:
                raise ConnectionRefusedError("the namespace is gone") from error
        if not fds:
            raise ConnectionRefusedError(answer.decode() or "the namespace is gone")
        return socket.socket(fileno=fds[0])


class Relay:
    """Accepts on one socket and joins each connection with a new one from ``connect``."""

    def __init__(self, listening: socket.socket, connect: Callable[[], socket.socket]) -> None:
        self._listening = listening
        self._connect = connect
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
        self._thread.join(5)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with near:
            try:
                far = self._connect()
            except OSError:
                return
            with far:
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(target=_pump, args=(far, near), daemon=True)
                back.start()
                _pump(near, far)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    buffer = memoryview(bytearray(1 << 18))
    try:
        while count := source.recv_into(buffer):
            sink.sendall(buffer[:count])
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # one side is gone: tell the other
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Orthanc:
    """Orthanc as Debian ships it.

    Parameters
    ----------
    folder
        For its storage, configuration and log; below the root of its system where it runs by chroot.
    ae_title
        Its own.
    modalities
        Name -> (AE title, port on this machine's 127.0.0.1): peers that it may send to.
    settings
        Keys of its configuration file that win over those here.
    tcp_nodelay
        Let it send small packets at once (FACTS: 44 ms an instance otherwise).
    credentials
        User and password, where it asks for them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ORTHANC",
        modalities: Mapping[str, tuple[str, int]] | None = None,
        settings: Mapping[str, Any] | None = None,
        tcp_nodelay: bool = True,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        inside, folder = folder, _outside(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.inside = inside
        self.ae_title = ae_title
        self.log = folder / "orthanc.log"
        self._modalities = dict(modalities or {})
        self._configuration = folder / "orthanc.json"
        self._configuration.write_text(
            json.dumps(_configuration(inside, ae_title, self._modalities, dict(settings or {})), indent=1)
        )
        self._environment = {"TCP_NODELAY": "1"} if tcp_nodelay else {}
        self._http, self._dicom = _listening(), _listening()
        self.url = f"http://127.0.0.1:{self._http.getsockname()[1]}"
        self.dicom_port: int = self._dicom.getsockname()[1]
        self._namespace: Namespace | None = None
        self._outward: list[Relay] = []
        self._inward = [
            Relay(self._http, lambda: self._inside().connect(_HTTP_INSIDE)),
            Relay(self._dicom, lambda: self._inside().connect(_DICOM_INSIDE)),
        ]
        self._client = httpx.Client(base_url=self.url, auth=credentials, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._client.close()
        for relay in self._inward:
            relay.close()
        if _ROOT:
            shutil.rmtree(self.folder)

    @property
    def pid(self) -> int:
        """Process in its namespace."""
        return self._inside().pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = "/usr/sbin/Orthanc" if _ROOT else shutil.which("Orthanc")
        assert program is not None, "Orthanc is not installed"
        command = [program, str(self.inside / self._configuration.name)]
        if _ROOT:
            command = ["chroot", _ROOT, *command]
        self._namespace = Namespace(command, self.log, self._environment)
        for _, port in self._modalities.values():
            self._outward.append(Relay(self._namespace.listen(port), functools.partial(_connected, port)))
        self._wait_until_up()

    def kill(self) -> None:
        """Kill -9 it; its ports then refuse until `start`."""
        self._inside().kill()
        self._namespace = None
        self._close_outward()

    def stop(self) -> None:
        """End it in order; its ports then refuse."""
        if self._namespace is not None:
            self._namespace.close()
            self._namespace = None
        self._close_outward()

    def _close_outward(self) -> None:
        for relay in self._outward:
            relay.close()
        self._outward.clear()

    def get(self, route: str) -> Any:
        """GET a JSON resource."""
        return self._client.get(route).raise_for_status().json()

    def post(self, route: str, body: Any) -> Any:
        """POST bytes as they are, all else as JSON; return the JSON answer."""
        answer = (
            self._client.post(route, content=body)
            if isinstance(body, bytes)
            else self._client.post(route, json=body)
        )
        return answer.raise_for_status().json()

    def put(self, route: str, body: str = "") -> None:
        """PUT text."""
        self._client.put(route, content=body).raise_for_status()

    def delete(self, route: str) -> None:
        """DELETE a resource."""
        self._client.delete(route).raise_for_status()

    def instances(self) -> dict[str, bytes]:
        """Return the Part 10 file of each instance that it has, by SOP Instance UID."""
        found = {}
        for instance in self.get("/instances?expand"):
            content = self._client.get(f"/instances/{instance['ID']}/file").raise_for_status().content
            found[instance["MainDicomTags"]["SOPInstanceUID"]] = content
        return found

    def _inside(self) -> Namespace:
        if self._namespace is None:
            raise ConnectionRefusedError("Orthanc is stopped")
        return self._namespace

    def _wait_until_up(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._inside().alive:
            try:
                self.get("/system")
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
        text = self.log.read_text(errors="replace")[-4000:]
        self.stop()
        pytest.fail(f"Orthanc did not start:\n{text}")


def _outside(folder: Path) -> Path:
    """Return where a folder of Orthanc's system is to us."""
    return Path(_ROOT) / folder.relative_to("/") if _ROOT else folder


def _connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=5)
    made.settimeout(None)
    return made


def _listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=128)


def _configuration(
    folder: Path, ae_title: str, modalities: Mapping[str, tuple[str, int]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": _HTTP_INSIDE,
        "DicomPort": _DICOM_INSIDE,
        "DicomAet": ae_title,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
        "UserMetadata": {"al-read-by": 4200},
        "DicomModalities": {
            name: {"AET": peer_ae, "Host": "127.0.0.1", "Port": port}
            for name, (peer_ae, port) in modalities.items()
        },
        **settings,
    }
