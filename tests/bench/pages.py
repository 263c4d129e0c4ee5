"""``python -m tests.bench.pages``: what a page costs the server, with 50,000 studies in the ledger.

Prints the processor's time of the answer (this process alone, whatever else the machine does) and the time
by the clock, the median of several answers each, for a list of a day's work and for one that nobody read.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from orthanc_al.ledger import Ledger
from orthanc_al.web import create_app
from tests.support.asgi import ask
from tests.support.large_ledger import fill_large
from tests.support.worklist_ledger import NOW, PNEUMONIA, keep_alive

STUDIES = 50_000
PATHS = {
    "worklist": "/",
    "live part": "/live",
    "one tier": "/?tier=low",
    "one modality": "/?modality=CR",
    "search, few": "/?q=N4999",
    "search, many": "/?q=okafor",
    "last part of the list": "/?page=500",
    "read ones": "/?listed=closed",
    "all": "/?listed=all",
    "asked": "/review",
    "adjudication": "/adjudication",
    "deliveries": "/deliveries",
    "a study": "/studies/2.25.10007",
}


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    count = int(arguments[0]) if arguments else STUDIES
    for waiting in (count // 100, count):
        with tempfile.TemporaryDirectory() as folder:
            ledger = Ledger.create(f"sqlite:///{folder}/ledger.sqlite")
            fill_large(ledger, count, waiting)
            keep_alive(ledger)
            app = create_app(
                ledger, spool=Path(folder), clock=lambda: NOW, known_findings=lambda _: (PNEUMONIA,)
            )
            print(f"{count} studies, {waiting} of them to be read: ms of the processor, ms by the clock")
            for name, path in PATHS.items():
                processor, clock = _cost(app, path)
                print(f"  {name:24}{processor:6.0f}{clock:8.0f}")
            ledger.close()
    return 0


def _cost(app: object, path: str, times: int = 7) -> tuple[float, float]:
    spent = []
    for _ in range(times):
        processor, clock = time.process_time(), time.perf_counter()
        answer = ask(app, path)  # type: ignore[arg-type]
        spent.append((time.process_time() - processor, time.perf_counter() - clock))
        assert answer.status_code == 200, path
    return tuple(1e3 * statistics.median(column) for column in zip(*spent, strict=True))  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
