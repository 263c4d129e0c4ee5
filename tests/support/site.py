"""A whole site on this machine: our service as its own processes, with real peers around it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import tomli_w

from orthanc_al.ledger import Ledger, facts, processes

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "models" / "cxr-pneumonia"


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    condition: Callable[[], Any], seconds: float = 60.0, what: str | Callable[[], str] = ""
) -> Any:
    """Wait for a truth and return it; fail when it does not come, with ``what`` as it is by then."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(told or "it did not happen in time")
        time.sleep(0.1)


def listens(port: int) -> bool:
    """Whether something accepts connections at a port of the loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class StoreSCP:
    """DCMTK's storescp +B (bit-preserving) as a PACS."""

    def __init__(self, folder: Path, ae_title: str = "PACS", port: int = 0, *, tuned: bool = True) -> None:
        self.folder = folder
        self.ae_title = ae_title
        self._tuned = tuned  # without Nagle's algorithm, which it has on as it is shipped
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TCP_NODELAY": "1"}
        if not self._tuned:
            del environment["TCP_NODELAY"]
        self._process = subprocess.Popen(
            [
                "storescp",
                "+B",
                "-aet",
                self.ae_title,
                "-od",
                str(self.folder),
                "--fork",
                "+xa",
                str(self.port),
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(lambda: listens(self.port), 20)

    def stop(self) -> None:
        """End it and the processes that it forked."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        """Process id of the one that listens."""
        assert self._process is not None, "it is not started"
        return self._process.pid

    def files(self) -> list[Path]:
        """Return what it has received."""
        return sorted(path for path in self.folder.iterdir() if path.is_file())


def peer(name: str, ae_title: str, port: int, *roles: str) -> dict[str, Any]:
    """Return a peer's table of the configuration."""
    return {"name": name, "ae_title": ae_title, "host": "127.0.0.1", "port": port, "roles": list(roles)}


class Site:
    """Our service in ``folder``; its peers are the caller's.

    Parameters
    ----------
    folder
        Gets the configuration, the ledger, the spool and the log.
    peers
        Tables of `peer`.
    changes
        Sections of the configuration that replace the defaults below.
    port
        Of the listener, where a peer has to know it before; 0 takes a free one.
    """

    def __init__(
        self,
        folder: Path,
        peers: Sequence[Mapping[str, Any]],
        changes: Mapping[str, Mapping[str, Any]] | None = None,
        port: int = 0,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.web_port = free_port()
        self.config = folder / "orthanc-al.toml"
        document: dict[str, Any] = {
            "dicom": {"port": self.port, "peers": list(peers)},
            "storage": {"min_free_gb": 0.1},
            "assemble": {"quiet_seconds": {"default": 2, "CR": 1.5, "DX": 1.5}},
            "models": [{"package": str(PACKAGE), "modality": ["CR", "DX"]}],
            "learn": {"cron": ""},
            "web": {"port": self.web_port},
        }
        for section, table in (changes or {}).items():
            document[section] = table if isinstance(table, list) else {**document.get(section, {}), **table}
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(tomli_w.dumps(document))
        self.ledger_url = f"sqlite:///{folder}/var/ledger.sqlite"
        storage = document["storage"]
        if "ledger" in storage:
            self.ledger_url = storage["ledger"].replace("sqlite:///", f"sqlite:///{folder}/")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the service wrote."""
        path = self.folder / "service.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Open the ledger."""
        ledger = Ledger.open(self.ledger_url)
        try:
            yield ledger
        finally:
            ledger.close()

    def fix_draws(self, seed: str) -> None:
        """Create the ledger with a seed of the test's: which studies are drawn is the same in each run."""
        ledger = Ledger.create(self.ledger_url)
        with ledger.write() as connection:
            facts.put(connection, facts.SEED, seed)
        ledger.close()

    def start(self, seconds: float = 90.0, role: str = "", *, whole: bool = True) -> None:
        """Start all processes, or the one of a role that listens, and wait until they are ready.

        Where ``whole`` is False, until the listener is: something else never will be.
        """
        command = [sys.executable, "-m", "orthanc_al", "--config", str(self.config), "serve"]
        with (self.folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--role", role] if role else command, stdout=log, stderr=log, cwd=ROOT
            )
        ready = self.is_ready if whole and not role else (lambda: listens(self.port))
        wait_until(ready, seconds, lambda: f"the service did not start: {self.log[-3000:]}")

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.web_port}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """End the service as Ctrl-C does; return its exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(40)
        finally:
            self._process.kill()
            self._process = None

    def role_pid(self, role: str) -> int:
        """Return the process id of a role."""
        with self.ledger() as ledger, ledger.read() as connection:
            return int(processes.all_roles(connection)[role]["pid"])

    def kill(self, role: str) -> None:
        """Kill -9 the living process of a role; the supervisor starts another."""
        os.kill(wait_until(lambda: self._living_pid(role), 60, f"no process does {role}"), signal.SIGKILL)

    def _living_pid(self, role: str) -> int | None:
        pid = self.role_pid(role)
        return pid if Path(f"/proc/{pid}").exists() else None

    def cli(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of ours."""
        done = subprocess.run(
            [sys.executable, "-m", "orthanc_al", "--config", str(self.config), *words],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=300,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done

    def worklist(self) -> list[dict[str, Any]]:
        """Return the worklist as the command shows it to programs."""
        found: list[dict[str, Any]] = json.loads(self.cli("worklist", "--json").stdout)
        return found


def storescu(port: int, paths: Sequence[Path], calling: str = "MODALITY", called: str = "ORTHANC_AL") -> None:
    """Send files with DCMTK, in the transfer syntax that each has."""
    program = shutil.which("storescu")
    assert program is not None
    done = subprocess.run(
        [program, "-R", "-xs", "-aet", calling, "-aec", called, "127.0.0.1", str(port), *map(str, paths)],
        env={**os.environ, "TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def data_set_bytes(path: Path) -> bytes:
    """Return the bytes of a Part 10 file behind its file meta information (PS3.10 7.1)."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[140:144], "little")
    return raw[144 + length :]
