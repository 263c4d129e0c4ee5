"""Beside an Orthanc without routing: studies sent to Orthanc alone are ordered there, and reads come back."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from orthanc_al.demo import demo_datasets
from orthanc_al.ledger import instances, schema
from orthanc_al.observe import now
from tests.support.orthanc import Orthanc
from tests.support.site import Site, peer, storescu, wait_until

pytestmark = [pytest.mark.needs_orthanc, pytest.mark.needs_dcmtk, pytest.mark.slow]
STUDIES = 3


def _came_from_orthanc(connection: Connection, instance_id: str) -> bool:
    known = instances.get(connection, instance_id)
    return known is not None and known.origin == "orthanc"


def test_studies_sent_to_orthanc_alone_are_ordered_and_reported_there(tmp_path: Path) -> None:
    paths = []
    for number, data_set in enumerate(list(demo_datasets(now()))[:STUDIES]):
        paths.append(tmp_path / f"{number}.dcm")
        data_set.save_as(paths[-1], enforce_file_format=True)
    with Orthanc(tmp_path / "orthanc") as orthanc:
        site = Site(
            tmp_path / "site",
            [peer("orthanc", "ORTHANC", orthanc.dicom_port, "destination", "results")],
            {"orthanc": {"url": orthanc.url, "watch": True}, "review": {"audit_fraction": 0.0}},
        )
        site.start()
        try:
            storescu(orthanc.dicom_port, paths, called="ORTHANC")

            def ordered() -> dict[str, int]:
                found = {}
                for study in orthanc.get("/studies?expand"):
                    metadata = orthanc.get(f"/studies/{study['ID']}/metadata?expand")
                    if "al-read-by" in metadata and len(study["Series"]) == 2:
                        uid = study["MainDicomTags"]["StudyInstanceUID"]
                        found[uid] = int(metadata["al-read-by"])
                return found if len(found) == STUDIES else {}

            there = wait_until(ordered, 90, lambda: f"Orthanc has no order: {site.log[-3000:]}")
            here = site.worklist()
            assert [line["study_instance_uid"] for line in here] == sorted(
                there, key=lambda uid: (there[uid], [one["study_instance_uid"] for one in here].index(uid))
            )
            with site.ledger() as ledger, ledger.read() as connection:
                taken = [
                    one for one in instances.known_ids(connection) if _came_from_orthanc(connection, one)
                ]
                sent = connection.execute(select(schema.deliveries.c.instance_id)).scalars().all()
            assert len(taken) == STUDIES  # our reports, which are there as well, are no news
            assert not set(taken) & set(sent)  # and nothing goes back
            told = site.cli("doctor").stdout
            assert "followed up to" in told

            orthanc.stop()
            wait_until(lambda: not site.is_ready(), 60, "/readyz does not tell that Orthanc is away")
            orthanc.start()
            wait_until(site.is_ready, 60, "the watcher did not come back")
        finally:
            site.stop()
