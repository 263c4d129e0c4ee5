"""kill -9 of every process of `serve` while studies flow: its supervisor brings each back, nothing is lost.

At random moments, and far more often, `make chaos` kills them (tests/chaos/killing.py; the short form is in
chaos_test.py).
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import flow
from tests.support.site import Site, StoreSCP, free_port, peer, wait_until

pytestmark = [pytest.mark.needs_dcmtk, pytest.mark.slow, pytest.mark.timeout(600)]

STUDIES = 30
ROLES = ("listener", "forwarder", "worker", "web", "learner")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Site, StoreSCP]]:
    pacs = StoreSCP(tmp_path / "pacs")
    pacs.start()
    site = Site(
        tmp_path / "site",
        [
            peer("modality", "MODALITY", free_port(), "source"),
            peer("pacs", "PACS", pacs.port, "destination", "results"),
        ],
    )
    site.fix_draws("kill")
    site.start()
    yield site, pacs
    site.stop()
    pacs.stop()


def test_nothing_acknowledged_is_lost_or_doubled_though_every_process_is_killed(
    site: tuple[Site, StoreSCP], tmp_path: Path
) -> None:
    ours, pacs = site
    rng = random.Random(11)
    modality = flow.Modality(ours.port, flow.films(tmp_path / "films", STUDIES))
    modality.start()
    for role in rng.sample(ROLES, len(ROLES)):
        time.sleep(rng.uniform(0.3, 2.0))
        ours.kill(role)
    modality.join(300)
    assert len(modality.acknowledged) == STUDIES
    wait_until(lambda: flow.is_idle(ours), 400, "the queue did not drain")
    assert flow.altered(modality.acknowledged, pacs) == []
    entries = ours.worklist()
    assert len(entries) == STUDIES
    assert {entry["state"] for entry in entries} <= {"scored", "complete"}
    assert flow.reports_at(pacs) == sorted(
        entry["study_instance_uid"] for entry in entries if entry["result"]
    )
    wait_until(lambda: not flow.problems(ours), 60, "doctor finds problems")
