"""A real PostgreSQL server for the tests, on loopback, with a data folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from orthanc_al.ledger import Ledger
from orthanc_al.ledger.schema import metadata

_PATIENCE = 60.0  # seconds, for a machine that does much else


@cache
def _programs() -> Path | None:
    """Return the folder of the server's programs: Debian has it off the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def can_run() -> bool:
    """Whether the server's programs and the driver are installed."""
    return _programs() is not None and find_spec("psycopg") is not None


@contextmanager
def running() -> Iterator[str]:
    """Run a server with an empty database, and give its URL."""
    programs = _programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="orthanc-al-postgresql-"))
    # The server refuses to run as root; Debian's package brings a user for it.
    user = "postgres" if os.getuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    make = ["initdb", "-D", folder / "data", "-A", "trust", "-U", "al", "-E", "UTF8", "--no-locale", "-N"]
    serve = ["postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
    log = subprocess.DEVNULL
    subprocess.run([programs / make[0], *make[1:]], user=user, cwd=folder, stdout=log, check=True)
    server = subprocess.Popen(
        [programs / serve[0], *serve[1:]], user=user, cwd=folder, stdout=log, stderr=log
    )
    try:
        _wait(programs, port, server)
        yield f"postgresql+psycopg://al@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # a fast end: who is connected is cut off
        server.wait(_PATIENCE)
        shutil.rmtree(folder)


def _wait(programs: Path, port: int, server: "subprocess.Popen[bytes]") -> None:
    asked = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    until = time.monotonic() + _PATIENCE
    while subprocess.run(asked, check=False).returncode != 0:
        assert server.poll() is None, "PostgreSQL did not start"
        assert time.monotonic() < until, "PostgreSQL does not answer"
        time.sleep(0.1)


def empty(ledger: Ledger) -> None:
    """Take all rows out: quicker than a new database, whose files are made anew."""
    tables = "; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))
    with ledger.write() as connection:
        connection.exec_driver_sql(tables)
