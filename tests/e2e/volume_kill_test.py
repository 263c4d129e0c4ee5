"""kill -9 of the worker while a CT goes through it by batches: each slice is scored once, none is lost."""

import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from orthanc_al.dicom import Peer
from orthanc_al.ledger import predictions
from orthanc_al.ledger.schema import image_scores, jobs
from orthanc_al.service.running import is_idle
from tests.bench.sending import CALLING_AE, Payload, send
from tests.support.ct import ct_package, ct_slices
from tests.support.site import Site, peer, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SLICES = 200


def test_a_ct_is_scored_once_and_whole_though_its_worker_is_killed_in_the_middle(tmp_path: Path) -> None:
    package = ct_package(tmp_path / "package")
    site = Site(
        tmp_path / "site",
        [peer("scanner", CALLING_AE, 1, "source")],
        {
            "models": [{"package": str(package.folder), "modality": ["CT"]}],  # type: ignore[dict-item]
            "assemble": {"quiet_seconds": {"default": 60}},
        },
    )
    slices = list(ct_slices(11, SLICES, size=256))
    for dataset in slices:
        dataset.NumberOfStudyRelatedInstances = SLICES
    site.start()
    try:
        send([Payload.of(dataset) for dataset in slices], Peer("us", "ORTHANC_AL", "127.0.0.1", site.port))
        with site.ledger() as ledger:

            def scored() -> int:
                with ledger.read() as connection:
                    return int(
                        connection.execute(select(func.count()).select_from(image_scores)).scalar_one()
                    )

            killed_at = []
            for least in (1, SLICES // 2):
                while (there := scored()) < least:  # without a sleep, in which all would be scored
                    pass
                site.kill("worker")
                killed_at.append(there)
                time.sleep(0.5)
            wait_until(lambda: is_idle(ledger), 180, "the queue did not drain")
            with ledger.read() as connection:
                (stored,) = predictions.latest(connection, str(slices[0].StudyInstanceUID))
                by_image = select(image_scores.c.instance_id, image_scores.c.model_digest)
                rows = connection.execute(by_image).all()
                left = connection.execute(select(jobs.c.step, jobs.c.state)).all()
    finally:
        site.stop()
    assert killed_at[0] < SLICES  # else it was killed when all was done
    assert stored.images == len(rows) == len(set(rows)) == SLICES
    assert [job for job in left if job.state == "quarantined"] == []
