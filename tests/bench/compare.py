"""`make bench`: our listener, DCMTK's storescp and Orthanc side by side, in one run, with the same sender.

Everything runs in a network namespace of its own (Orthanc binds all addresses), on its loopback, with
TCP_NODELAY=1 in the peers' environment. Rounds are interleaved, so that a neighbour's load falls on all;
before each turn our service is idle and the disk's write-back is done, so that no one pays for another.
Printed are minimum, median and maximum of the rounds, and those of the rounds' ratios; a copy goes to
``bench-results/``. No figure here is a test: machines are shared and noisy.

What needs no peer (`_ALONE`) is measured without a namespace, where nothing else was asked for. The parts of
the GPU are left out where none is, unless they are asked for by name.
"""

import argparse
import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from orthanc_al.inference.session import CPU
from tests.bench import (
    ct_wait,
    decoding,
    delays,
    delivering,
    film_wait,
    forwarding,
    gpu,
    habits,
    head_fit,
    inference,
    nvidia,
    receiving,
    scoring,
)
from tests.bench.series import Series, Step

OURS = "orthanc_al"
_ALONE = frozenset({"decode", "inference: backlog", "inference: batcher", "inference: memory", "head fit"})
"""Measures that talk to nobody, beside those of the GPU."""

_LEFT_OUT = "gpu: left out, since ONNX Runtime has none here (--only gpu measures the CPU in its place)"
_INSIDE = "ORTHANC_AL_BENCH_NAMESPACE"
_RESULTS = Path("bench-results")
_COLUMNS = ("measure", "who", "min", "median", "max", "unit", "ours against it: median (min to max)")


def main() -> None:
    """Measure and print."""
    options = _options()
    titles = list(_measures(Path(), 0))
    if os.environ.get(_INSIDE) == "yes":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    elif not all(map(_is_alone, _chosen(titles, options.only, bool))):
        sys.exit(_in_a_namespace())
    chosen = _chosen(titles, options.only, lambda: gpu.provider() != CPU)
    console = Console(width=170)
    if any(map(_is_of_the_gpu, chosen)):
        console.print(gpu.said())
    elif not options.only:
        console.print(_LEFT_OUT)
    machine = _machine(options.rounds)
    results: list[Series] = []
    with (
        tempfile.TemporaryDirectory(prefix="orthanc-al-bench-", dir=options.folder) as folder,
        Progress(console=console) as progress,
    ):
        measures = _measures(Path(folder), options.rounds)
        for title in chosen:
            task = progress.add_task(title, total=options.rounds)
            results += measures[title](functools.partial(progress.advance, task))
    _print(console, results, machine)
    _keep(_RESULTS, results, machine)
    console.print(f"Written to {_RESULTS / 'latest.json'} and {_RESULTS / 'latest.md'}")


def _chosen(titles: Iterable[str], only: str, has_gpu: Callable[[], bool]) -> list[str]:
    """Return the measures to take: those of the GPU where there is one, or where it is asked for."""
    return [
        title
        for title in titles
        if only in title and (not _is_of_the_gpu(title) or "gpu" in only or has_gpu())
    ]


def _is_of_the_gpu(title: str) -> bool:
    return title.startswith("gpu: ")


def _is_alone(title: str) -> bool:
    return title in _ALONE or _is_of_the_gpu(title)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="a part of the names of the measures that are taken")
    parser.add_argument("--folder", default=None, help="where spools and archives go (a real disk)")
    return parser.parse_args()


def _in_a_namespace() -> int:
    missing = [name for name in ("unshare", "ip", "Orthanc", "storescp") if shutil.which(name) is None]
    if missing:
        print(f"missing: {', '.join(missing)} (make parts)", file=sys.stderr)
        return 1
    # Without root, a user namespace gives the right to make a network namespace.
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    return subprocess.run(
        [*unshare, sys.executable, "-m", "tests.bench.compare", *sys.argv[1:]],
        env={**os.environ, _INSIDE: "yes", "TCP_NODELAY": "1"},
        check=False,
    ).returncode


def _measures(folder: Path, rounds: int) -> dict[str, Callable[[Step], list[Series]]]:
    return {
        "receive": lambda step: receiving.measure(folder, rounds, step),
        "receive as hospitals send": lambda step: habits.measure(folder, rounds, step),
        "send": lambda step: delivering.measure(folder, rounds, step),
        "store and forward": lambda step: forwarding.measure(folder, rounds, step),
        "forwarding delay": lambda step: delays.measure(folder, rounds, step),
        "decode": lambda step: decoding.measure(folder, rounds, step),
        "inference: wait for a film": lambda step: film_wait.measure(folder, rounds, step),
        "inference: wait for a CT": lambda step: ct_wait.measure(folder, rounds, step),
        "inference: backlog": lambda step: inference.throughput(folder, rounds, step),
        "inference: batcher": lambda step: inference.batcher(rounds, step),
        "inference: memory": lambda step: inference.memory(folder, step),
        "score": lambda step: scoring.measure(folder, rounds, step),
        "head fit": lambda step: head_fit.measure(rounds, step),
        **{title: functools.partial(part, folder, rounds) for title, part in gpu.parts().items()},
    }


def _machine(rounds: int) -> dict[str, str | int]:
    """Return what figures depend on beside the code."""
    processor = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor or platform.machine(),
        "cores": os.cpu_count() or 0,
        "GPU": str(nvidia.gpu() or "none that nvidia-smi tells of"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "rounds": rounds,
    }


def _rows(results: list[Series]) -> Iterator[tuple[str, ...]]:
    """Yield the table's rows as text."""
    for series in results:
        for number, (who, values) in enumerate(series.rounds.items()):
            figures = (min(values), median(values), max(values))
            yield (
                series.measure if number == 0 else "",
                who,
                *(f"{figure:,.3g}" if figure < 100 else f"{figure:,.0f}" for figure in figures),
                series.unit,
                _ratio(series, who),
            )


def _ratio(series: Series, who: str) -> str:
    """Return how many times better ours is: median, and the worst and best round."""
    if who.startswith(OURS):
        return ""
    ratios = series.ratios(who)
    return f"{median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


def _print(console: Console, results: list[Series], machine: dict[str, str | int]) -> None:
    title = "Side by side, one run: " + ", ".join(f"{name} {value}" for name, value in machine.items())
    table = Table(title=title, title_justify="left")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in _COLUMNS[:2] else "right")
    for row in _rows(results):
        table.add_row(*row)
    console.print(table)
    for line in _remarks(results):
        console.print(line)


def _remarks(results: list[Series]) -> list[str]:
    return [f"{series.measure}: {series.remark}" for series in results if series.remark]


def _keep(folder: Path, results: list[Series], machine: dict[str, str | int]) -> None:
    """Write all figures as JSON, and the table as docs/performance.md shows it."""
    folder.mkdir(exist_ok=True)
    document = {"machine": machine, "series": [vars(series) for series in results]}
    (folder / "latest.json").write_text(json.dumps(document, indent=1))
    lines = [", ".join(f"{name} {value}" for name, value in machine.items()), ""]
    alignment = ("---", "---", "--:", "--:", "--:", "---", "---")
    lines += [f"| {' | '.join(row)} |" for row in (_COLUMNS, alignment, *_rows(results))]
    lines += ["", *(f"- {line}" for line in _remarks(results))]
    (folder / "latest.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
