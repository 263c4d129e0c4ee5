"""`make chaos`: does to the service what hospitals do to it, and prints what came of it.

Everything runs in namespaces of its own (network, mounts): no port and no small disk of it is seen outside.
Each part's lines are kept in ``chaos-results/`` when it is done, so that parts can be run one by one
(``--only kill``); the table at the end is of all that are there.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.chaos.verdict import Line, Plan

_INSIDE: Final = "ORTHANC_AL_CHAOS_NAMESPACE"
_RESULTS: Final = Path("chaos-results")
PARTS: Final = {
    "kill": "killing",
    "disk": "disks",
    "destinations": "destinations",
    "ledger": "ledgers",
    "clock": "clocks",
    "ai": "ai",
    "fuzz": "fuzzing",
}


def main() -> int:
    """Run what is asked for; return 1 where a promise did not hold."""
    options = _options()
    if os.environ.get(_INSIDE) != "yes":
        return _in_namespaces()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name in options.only or PARTS:
        _run(name, options)
    kept = [name for name in PARTS if (options.results / f"{name}.json").exists()]
    documents = [_read(name, options.results) for name in kept]
    table = _table(documents)
    (options.results / "latest.md").write_text(table)
    print(table)
    mine = set(options.only or PARTS)
    return int(any(line["broken"] for one in documents if one["part"] in mine for line in one["lines"]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(PARTS), help="a part; may be given again")
    parser.add_argument("--short", action="store_true", help="as `make test` runs it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=520)
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--folder", default=None, help="where sites and archives go (a real disk)")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    parser.add_argument("--keep", action="store_true", help="leave the folders of the sites, with their logs")
    return parser.parse_args()


def _in_namespaces() -> int:
    wanted = ("unshare", "ip", "mount", "storescp", "storescu")
    missing = [name for name in wanted if shutil.which(name) is None]
    if missing:
        print(f"missing: {', '.join(missing)} (make parts)", file=sys.stderr)
        return 2
    # Without root, a user namespace gives the right to make the others.
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return subprocess.run(
        ["unshare", "--net", "--mount", *rights, sys.executable, "-m", "tests.chaos.run", *sys.argv[1:]],
        env={**os.environ, _INSIDE: "yes", "TCP_NODELAY": "1"},
        check=False,
    ).returncode


def _run(name: str, options: argparse.Namespace) -> None:
    part: Callable[[Plan], Sequence[Line]] = import_module(f"tests.chaos.{PARTS[name]}").run
    folder = Path(tempfile.mkdtemp(prefix=f"orthanc-al-chaos-{name}-", dir=options.folder))
    print(f"{name}: seed {options.seed}, in {folder} ...", flush=True)
    began = time.monotonic()
    try:
        lines = part(Plan(folder, options.seed, options.short, options.kills, options.streams))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    command = " ".join(f"{key} {value}" for key, value in _said(name, options).items())
    document = {
        "part": name,
        "command": f'make chaos C="{command}"',
        "seconds": round(time.monotonic() - began),
        "machine": _machine(),
        "lines": [{"fault": one.fault, "seen": one.seen, "broken": one.broken} for one in lines],
    }
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / f"{name}.json").write_text(json.dumps(document, indent=1))
    _tell(lines)


def _said(name: str, options: argparse.Namespace) -> dict[str, Any]:
    own = {"kill": {"--kills": options.kills}, "fuzz": {"--streams": options.streams}}.get(name, {})
    return {"--only": name, "--seed": options.seed, **({"--short": ""} if options.short else own)}


def _tell(lines: Sequence[Line]) -> None:
    for line in lines:
        print(f"  {line.fault}: {line.verdict}\n    {line.seen}", flush=True)


def _machine() -> dict[str, Any]:
    """Return what the figures depend on beside the code."""
    processor = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0]
    dcmtk = subprocess.run(["storescu", "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor or platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "pynetdicom": version("pynetdicom"),
        "DCMTK": dcmtk.partition("storescu v")[2].partition(" ")[0],
        "load after": f"{os.getloadavg()[0]:.1f}",
    }


def _read(name: str, folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return document


def _table(documents: Sequence[dict[str, Any]]) -> str:
    """Return the table as docs/reliability.md shows it."""
    rows = ["| part | fault | what was seen | verdict |", "|---|---|---|---|"]
    for one in documents:
        for line in one["lines"]:
            verdict = Line(line["fault"], line["seen"], tuple(line["broken"])).verdict
            rows.append(f"| {one['part']} | {line['fault']} | {line['seen']} | {verdict} |")
    rows += ["", "| part | command | seconds | on |", "|---|---|---|---|"]
    for one in documents:
        machine = ", ".join(f"{key} {value}" for key, value in one["machine"].items())
        rows.append(f"| {one['part']} | `{one['command']}` | {one['seconds']} | {machine} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
