"""The demo: a whole site on one machine, in a folder of its own, with studies sent through its listener."""

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import tomli_w
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orthanc_al.demo import demo_datasets
from orthanc_al.dicom.sender import send_files
from orthanc_al.domain import StudyState
from orthanc_al.errors import ConfigurationError, OrthancAlError
from orthanc_al.ledger import Ledger, worklist
from orthanc_al.observe import configure_logging, now
from orthanc_al.service import building, running, stopping, tables
from orthanc_al.settings import Peer, Settings, load

_MARKER: Final = ".orthanc-al-demo"
_SENDER: Final = "DEMO_MODALITY"
_START_SECONDS: Final = 90.0
_SCORE_SECONDS: Final = 600.0
_PACKAGE: Final = Path(__file__).parents[2] / "models" / "cxr-pneumonia"


class _InterruptedError(Exception):
    """The user asked to end before the demo was there."""


def run(folder: Path, studies: Path | None, console: Console, *, stay: bool) -> None:
    """Start everything in ``folder``, send studies, print the worklist and stay up until interrupted.

    Parameters
    ----------
    folder
        Emptied first: it holds nothing but an earlier demo.
    studies
        Folder of DICOM files to send; None for the synthetic films.
    stay
        False: end after the worklist was printed.

    Raises
    ------
    ConfigurationError
        ``folder`` holds something else, or ``studies`` is no folder.
    """
    if studies is not None and not studies.is_dir():
        raise ConfigurationError(f"{studies} is not a folder of DICOM files.")
    _start_afresh(folder)
    config = folder / "orthanc-al.toml"
    config.write_text(tomli_w.dumps(_configuration(folder)), encoding="utf-8")
    settings = load(config)
    configure_logging(settings.log.level)
    with (
        suppress(_InterruptedError),
        stopping.stopped_by_signals() as stop,
        _service(settings, config, stop, console),
        _films(studies) as films,
    ):
        ledger = Ledger.open(settings.storage.ledger)
        sent = _send(films, settings, console)
        _wait_for_scores(ledger, sent, stop, console)
        with ledger.read() as connection:
            page = worklist.page(connection, worklist.Filter(), limit=100)
        tables.show_worklist(console, page.entries, settings.site.timezone)
        ledger.close()
        console.print(f"\nThe worklist page: [bold]http://{settings.web.host}:{settings.web.port}[/]")
        console.print(
            f"Commands for this demo: orthanc-al --config {config} doctor", highlight=False, soft_wrap=True
        )
        if stay:
            console.print("Ctrl-C ends it.")
            stop.wait()
    console.print("Ended.")


def _start_afresh(folder: Path) -> None:
    if folder.exists():
        if any(folder.iterdir()) and not (folder / _MARKER).exists():
            raise ConfigurationError(f"{folder} holds something that is not a demo: name another folder.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / _MARKER).touch()


def _configuration(folder: Path) -> dict[str, object]:
    dicom, archive, web = (_free_port(port) for port in (11112, 11113, 8080))
    return {
        "dicom": {
            "port": dicom,
            "peers": [
                {
                    "name": "demo",
                    "ae_title": _SENDER,
                    "host": "127.0.0.1",
                    "port": 11199,
                    "roles": ["source"],
                },
                {
                    "name": "archive",
                    "ae_title": "ARCHIVE",
                    "host": "127.0.0.1",
                    "port": archive,
                    "roles": ["destination", "results"],
                },
            ],
        },
        "storage": {"min_free_gb": 0.5},
        "archive": {"enabled": True, "folder": str(folder / "archive"), "port": archive},
        "models": [{"package": str(_PACKAGE), "modality": ["CR", "DX"], "body_part": []}],
        "assemble": {"quiet_seconds": {"default": 3, "CR": 2, "DX": 2}},
        "web": {"port": web},
        "site": {"name": "orthanc_al demo"},
        "log": {"level": "WARNING"},
    }


def _free_port(wanted: int) -> int:
    """Return ``wanted``, or a free port where another program has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigurationError("No free port could be had on 127.0.0.1.")


@contextmanager
def _service(settings: Settings, config: Path, stop: threading.Event, console: Console) -> Iterator[None]:
    running.prepare(settings)
    thread = threading.Thread(target=running.supervise, args=(settings, config, stop), name="supervisor")
    thread.start()
    try:
        with console.status("Starting listener, forwarder, worker, learner, web and archive ..."):
            _until(lambda: running.is_ready(settings), _START_SECONDS, stop, "The service did not start")
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _films(studies: Path | None) -> Iterator[Sequence[Path]]:
    if studies is not None:
        yield sorted(path for path in studies.rglob("*") if path.is_file())
        return
    with tempfile.TemporaryDirectory(prefix="orthanc-al-demo-") as folder:
        paths = []
        for number, data_set in enumerate(demo_datasets(now())):
            paths.append(Path(folder) / f"{number:03d}.dcm")
            data_set.save_as(paths[-1], enforce_file_format=True)
        yield paths


def _send(films: Sequence[Path], settings: Settings, console: Console) -> int:
    """Send the files with a progress bar; return how many were acknowledged."""
    me = Peer(
        name="orthanc_al",
        ae_title=settings.dicom.ae_title,
        host=settings.dicom.host,
        port=settings.dicom.port,
        roles=(),
    )
    with _progress(console) as progress:
        task = progress.add_task("Sending through the DICOM listener", total=len(films))
        report = send_files(
            films, building.ae(settings, me), _SENDER, on_progress=lambda _: progress.advance(task)
        )
    tables.show_failures(console, report.failed)
    return report.delivered


def _wait_for_scores(ledger: Ledger, sent: int, stop: threading.Event, console: Console) -> None:
    with _progress(console) as progress:
        task = progress.add_task("Scoring", total=None)

        def done() -> bool:
            with ledger.read() as connection:
                entries = worklist.page(connection, worklist.Filter(), limit=10_000).entries
            finished = sum(entry.state is not StudyState.ARRIVING for entry in entries)
            progress.update(task, completed=finished, total=len(entries) or None)
            return bool(entries) and finished == len(entries) and running.is_idle(ledger)

        if sent:
            _until(done, _SCORE_SECONDS, stop, "Not all studies were scored in time")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<36}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _until(condition: Callable[[], bool], seconds: float, stop: threading.Event, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise OrthancAlError(f"{otherwise} within {seconds:.0f} s; the log above says why.")
        if stop.wait(0.2):
            raise _InterruptedError
