"""Where a study's milliseconds go after its score: ``python -m tests.bench.after_score``.

Studies of one film, scored by the shipped package, are placed, selected, reported and mirrored by the real
stages over a real ledger and spool, one step after the other in one thread. Printed is the processor time
(of the program and of the kernel; a wait for the disk is none) that a study costs in each step, with the
queue and the commit, in an empty ledger and beside studies of the days before; and how many statements it
is. The films are the demo's, the budget is as shipped: some are asked about and have a Key Object Selection,
too, and few are blind. No Orthanc is there to be told.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Collection
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, event

from orthanc_al.demo.studies import demo_datasets
from orthanc_al.domain.criteria import Criteria
from orthanc_al.inference import load_package
from orthanc_al.ledger import Ledger, Worker, WorkQueue, facts, waiting
from orthanc_al.observe import now
from orthanc_al.pipeline import Step
from orthanc_al.report import MirrorStage, ReportStage
from orthanc_al.score.match import ModelUse
from orthanc_al.select import SelectStage
from orthanc_al.select.stage import Budget
from tests.bench.sending import Payload
from tests.support.learning_ledger import put_prediction, put_study
from tests.support.pipeline import Pipeline
from tests.support.site import PACKAGE

_AFTER: Final = (Step.TRIAGE, Step.SELECT, Step.REPORT, Step.MIRROR)
_UTC: Final = ZoneInfo("UTC")
_BUDGET: Final = Budget(per_day=20, audit_fraction=0.2, expected_per_day=0.0, timezone=_UTC)  # as shipped
_DAY: Final = 86400.0
_MADE_AT: Final = 1_790_000_000.0  # gives the studies their UIDs, and so the draws


class House:
    """A ledger, its stages, and studies that are scored.

    Parameters
    ----------
    folder
        Gets ledger and spool.
    studies
        How many are scored.
    before
        How many there are beside them, of the ten days before.
    """

    def __init__(self, folder: Path, studies: int, before: int) -> None:
        self.ledger = Ledger.create(f"sqlite:///{folder / 'ledger.sqlite'}")
        package = load_package(PACKAGE)
        self._pipeline = Pipeline(self.ledger, folder, ModelUse(package.ref.name, Criteria(("CR", "DX"))))
        self._pipeline.install(package)
        self._stages = {
            **self._pipeline.stages,
            Step.SELECT: SelectStage(self.ledger, _BUDGET),
            Step.REPORT: ReportStage(
                self.ledger,
                self._pipeline.spool,
                ae_title="ORTHANC_AL",
                peers=["pacs"],
                sr="all",
                timezone=_UTC,
                software_version=version("orthanc-al"),
            ),
            Step.MIRROR: MirrorStage(self.ledger, None),
        }
        with self.ledger.write() as connection:
            facts.put(connection, "selection_seed", "the bench's")
        self._put_earlier(before)
        for image in itertools.islice(demo_datasets(_MADE_AT), studies):
            image.NumberOfStudyRelatedInstances = 1
            made = Payload.of(image)
            self._pipeline.receive_bytes(
                bytes(made.data_set), made.sop_class_uid, made.sop_instance_uid, made.transfer_syntax_uid
            )
        self.work({Step.ARRIVE, Step.ASSEMBLE, Step.SCORE_IMAGE, Step.SCORE})

    def _put_earlier(self, count: int) -> None:
        rng = np.random.default_rng(4)
        with self.ledger.write() as connection:
            for number in range(count):
                at = now() - 10 * _DAY * (count - number) / count
                uid = f"2.25.{10**20 + number}"
                put_study(connection, uid, arrived_at=at, placed_at=at)
                put_prediction(
                    connection, uid, float(rng.normal(0, 3)), scored_at=at, embedding=rng.normal(size=512)
                )

    def work(self, steps: Collection[Step]) -> float:
        """Do what there is of these steps; return the processor's seconds that it took."""
        queue = WorkQueue(self.ledger, "bench")
        worker = Worker(self.ledger, queue, {step: self._stages[step] for step in steps})
        began = time.process_time()
        while worker.run_once(and_on=True):
            pass
        took = time.process_time() - began
        with self.ledger.read() as connection:
            left = {step for step, _ in waiting.counts(connection)} & set(steps)
        if left:
            raise RuntimeError(f"failed: {', '.join(sorted(left))}")
        return took

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()


class _Statements:
    """Counts what is asked of any ledger."""

    def __init__(self) -> None:
        self.count = 0
        event.listen(Engine, "before_cursor_execute", self._one_more)

    def _one_more(self, *_: object) -> None:
        self.count += 1


def measure(studies: int, before: int, turns: int) -> dict[Step, tuple[float, float]]:
    """Return, by step, a study's milliseconds of processor time in the best turn, and its statements."""
    statements = _Statements()
    turned: dict[Step, list[tuple[float, float]]] = {step: [] for step in _AFTER}
    for number in range(turns + 1):
        count = studies if number else 1  # the first loads what a report loads
        with tempfile.TemporaryDirectory() as folder, closing(House(Path(folder), count, before)) as house:
            for step in _AFTER:
                asked = statements.count
                seconds = house.work({step})
                if number:
                    turned[step].append((1000 * seconds / count, (statements.count - asked) / count))
    return {step: min(figures) for step, figures in turned.items()}


def main() -> None:
    """Print, by step, what a study costs: the best of three turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=42, help="at most 42")
    parser.add_argument("--before", type=int, nargs="*", default=[0, 3000], help="studies of the days before")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    table = Table(title="A study after its score: milliseconds of processor time, and statements")
    for column in ("studies of the days before", *_AFTER, "all"):
        table.add_column(column, justify="right")
    for before in options.before:
        figures = list(measure(options.studies, before, options.turns).values())
        figures.append((sum(taken for taken, _ in figures), sum(asked for _, asked in figures)))
        table.add_row(f"{before:,}", *(f"{taken:.2f} ({asked:.1f})" for taken, asked in figures))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
