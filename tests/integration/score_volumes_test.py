"""CT end to end, several models of a study, and the bad input that volumes bring."""

import csv
import ctypes
import multiprocessing
import os
import signal
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian
from sqlalchemy import select

from orthanc_al.domain import StudyState
from orthanc_al.domain.criteria import Criteria
from orthanc_al.ledger import Ledger, Worker, WorkQueue, instances, predictions, waiting
from orthanc_al.ledger.queue import MAX_DEATHS
from orthanc_al.ledger.schema import image_scores, jobs
from orthanc_al.observe import now
from orthanc_al.pipeline import Step
from orthanc_al.report import view
from orthanc_al.score.match import ModelUse
from tests.integration.score_studies_test import _run, _settle, _study
from tests.support.ct import ct_package, ct_slices, place, renamed
from tests.support.one_by_one import OneByOne
from tests.support.pipeline import Pipeline
from tests.support.radiographs import wrap
from tests.support.tiny_package import tiny_package

CT = ModelUse("ct", Criteria(("CT",)))


@pytest.fixture
def pipeline(ledger: Ledger, tmp_path: Path) -> Pipeline:
    made = Pipeline(ledger, tmp_path, CT)
    made.install(ct_package(tmp_path / "package"))
    return made


def _receive(pipeline: Pipeline, tmp_path: Path, datasets) -> dict[str, str]:
    """Take objects in; returns instance ids by SOP Instance UID."""
    path, ids = tmp_path / "object.dcm", {}
    for dataset in datasets:
        dataset.save_as(path, enforce_file_format=True)
        ids[str(dataset.SOPInstanceUID)] = pipeline.receive(path)
    return ids


def _reasons(pipeline: Pipeline, uid: str) -> dict[str, str | None]:
    with pipeline.ledger.read() as connection:
        return {one.instance.sop_instance_uid: one.reason for one in instances.of_study(connection, uid)}


def test_a_ct_is_the_mean_of_its_highest_slices_which_were_scored_as_they_arrived(pipeline, tmp_path: Path):
    slices = list(ct_slices(1, 12))
    ids = _receive(pipeline, tmp_path, slices[::-1])
    for _ in ids:
        pipeline.worker.run_once()  # arrive
    assert _run(pipeline, Step.SCORE_IMAGE, next(iter(ids.values()))) == "scored"
    _settle(pipeline)
    uid = str(slices[0].StudyInstanceUID)
    assert _study(pipeline, uid).state is StudyState.SCORED
    with pipeline.ledger.read() as connection:
        (stored,) = predictions.latest(connection, uid)
        scores = predictions.image_scores_of(connection, list(ids.values()), stored.model.digest)
    highest = sorted((float(score.logits[0]) for score in scores), reverse=True)[:5]
    assert stored.prediction.logit == pytest.approx(np.mean(highest), rel=1e-5)
    assert stored.images == 12
    assert {score.place.position[2] for score in scores} == {2.5 * number for number in range(12)}


def _arrive(pipeline: Pipeline, tmp_path: Path, slices) -> dict[str, str]:
    """Have slices looked at, so that they wait to be scored; the study is complete by its quiet time."""
    ids = _receive(pipeline, tmp_path, slices)
    queue = WorkQueue(pipeline.ledger, "headers")
    Worker(pipeline.ledger, queue, {Step.ARRIVE: pipeline.stages[Step.ARRIVE]}).run_once()
    time.sleep(0.01)
    Worker(pipeline.ledger, queue, {Step.ASSEMBLE: pipeline.stages[Step.ASSEMBLE]}).run_once()
    return ids


def test_no_study_is_scored_while_a_worker_has_its_slices_and_none_of_them_is_scored_twice(
    pipeline, tmp_path: Path
):
    slices = list(ct_slices(6, 12))
    _arrive(pipeline, tmp_path, slices)
    uid = str(slices[0].StudyInstanceUID)
    elsewhere = WorkQueue(pipeline.ledger, "elsewhere")
    batch = elsewhere.claim_many({Step.SCORE_IMAGE})
    assert len(batch) == 12
    outcomes = pipeline.stages[Step.SCORE_IMAGE].run_all(batch)
    pipeline.work()  # its score looks, and waits
    assert _study(pipeline, uid).state is StudyState.COMPLETE
    assert not elsewhere.finish_many(list(zip(batch, outcomes, strict=True))).refused
    before = _decode_seconds(pipeline)
    assert sorted(before) == sorted(job.subject for job in batch)
    pipeline.work()  # at once, not after its wait
    assert _study(pipeline, uid).state is StudyState.SCORED
    assert _decode_seconds(pipeline) == before


def _decode_seconds(pipeline: Pipeline) -> dict[str, float]:
    """Return by instance how long its decoding took, which another time is another figure."""
    with pipeline.ledger.read() as connection:
        columns = (image_scores.c.instance_id, image_scores.c.decode_seconds)
        rows = connection.execute(select(*columns)).all()
    assert len(rows) == len({row.instance_id for row in rows})
    return {row.instance_id: row.decode_seconds for row in rows}


def test_a_damaged_slice_and_a_lost_file_take_no_other_slice_of_their_batch_along(pipeline, tmp_path: Path):
    slices = list(ct_slices(7, 12))
    slices[3].PixelData = slices[3].PixelData[:100]
    ids = _arrive(pipeline, tmp_path, slices)
    lost = ids[str(slices[5].SOPInstanceUID)]
    pipeline.spool.remove(lost)
    pipeline.work()
    with pipeline.ledger.read() as connection:
        scored = set(connection.execute(select(image_scores.c.instance_id)).scalars())
        kinds = {one.instance.id: one.kind for one in instances.get_all(connection, list(ids.values()))}
        of_slices = select(jobs.c.subject, jobs.c.state).where(jobs.c.step == "score_image")
        left = connection.execute(of_slices).all()
    damaged = ids[str(slices[3].SOPInstanceUID)]
    assert scored == set(ids.values()) - {damaged, lost}
    assert kinds[damaged] == "unusable"
    assert left == [(lost, "quarantined")]
    (stored,) = _latest(pipeline, str(slices[0].StudyInstanceUID))
    assert stored.images == 10


def _latest(pipeline: Pipeline, uid: str):
    with pipeline.ledger.read() as connection:
        return predictions.latest(connection, uid)


def test_what_is_no_slice_is_left_out_and_says_so_and_a_gap_is_told(pipeline, tmp_path: Path):
    slices = list(ct_slices(2, 10))
    del slices[6]
    odd = [renamed(one, str(number)) for number, one in enumerate(ct_slices(2, 6))]
    twin, scout, capture, lost, small, localizer = odd
    scout.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    del lost.ImagePositionPatient
    small.Rows = small.Columns = 32
    small.PixelData = small.PixelData[: 32 * 32 * 2]
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    _receive(pipeline, tmp_path, [*slices, *odd])
    _settle(pipeline)
    uid = str(slices[0].StudyInstanceUID)
    reasons = _reasons(pipeline, uid)
    said = [reasons[str(one.SOPInstanceUID)] for one in odd[1:]]
    assert said == [
        "a slice of another orientation than its series",
        "a secondary capture is no slice for the model ct",
        "a slice without a place in the patient (0020,0032), (0020,0037)",
        "a slice of 32 x 32 pixels among ones of 64 x 64",
        "a localizer",
    ]
    twins = {str(twin.SOPInstanceUID), str(slices[0].SOPInstanceUID)}
    assert [r for sop, r in reasons.items() if sop in twins and r] == [
        "a second slice at the same place of its series"
    ]
    assert reasons[str(slices[6].SOPInstanceUID)].startswith("a gap of 5.0 mm before this slice")
    with pipeline.ledger.read() as connection:
        (stored,) = predictions.latest(connection, uid)
        known = [one.instance.id for one in instances.of_study(connection, uid)]
        assert len(predictions.image_scores_of(connection, known, stored.model.digest)) == stored.images == 9


def test_a_ct_without_places_says_why_it_has_no_score(pipeline, tmp_path: Path):
    slices = list(ct_slices(3, 3))
    for dataset in slices:
        del dataset.ImagePositionPatient
    _receive(pipeline, tmp_path, slices)
    _settle(pipeline)
    study = _study(pipeline, str(slices[0].StudyInstanceUID))
    assert study.state is StudyState.INELIGIBLE
    assert "without a place in the patient" in study.reason


def test_several_models_of_a_study_say_their_own_and_each_has_its_report(ledger, tmp_path: Path, grey):
    other = ModelUse("other", Criteria(("DX",), view=("AP",)))
    elsewhere = ModelUse("elsewhere", Criteria(("DX",), station=("ROOM9",)))
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("DX",))), other, elsewhere)
    for name, finding, seed in (("tiny", "pneumonia", 0), ("other", "effusion", 1), ("elsewhere", "mass", 2)):
        keys = {"input_name": f"input of {name}", "findings": (finding,)}
        pipeline.install(tiny_package(tmp_path / name, name=name, seed=seed, **keys))
    _receive(pipeline, tmp_path, [wrap(grey, 1)])
    _settle(pipeline)
    uid = str(wrap(grey, 1).StudyInstanceUID)
    with ledger.read() as connection:
        found = predictions.latest(connection, uid)
        seen = view.look(connection, uid, found)
    assert {(one.model.name, one.prediction.finding) for one in found} == {
        ("tiny", "pneumonia"),
        ("other", "effusion"),
    }
    made = [view.identity_of(seen, one, "sr") for one in seen.models]
    assert len(made) == len({one.sop_instance_uid for one in made}) == 2
    assert len({one.series_instance_uid for one in made}) == 2
    assert list(_reasons(pipeline, uid).values()) == ["no model is configured for the station ROOM2"]


def test_a_study_that_no_model_is_for_names_the_reason(ledger, tmp_path: Path, grey):
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("DX",), images=(2, 4))))
    pipeline.install(tiny_package(tmp_path / "package"))
    _receive(pipeline, tmp_path, [wrap(grey, 1)])
    _settle(pipeline)
    assert _study(pipeline, str(wrap(grey, 1).StudyInstanceUID)).reason == (
        "no model is configured for a study of 1 image(s)"
    )


# --- a decoder that ends its process ---------------------------------------------------------------


def _die_in_the_decoder(url: str, owner: str) -> None:
    """Claim the job and end as a decoder does that reads where nothing is."""
    if OneByOne(Ledger.open(url), owner).claim({Step.SCORE_IMAGE}) is not None:
        ctypes.string_at(0)
    os._exit(0)


def _later(ledger: Ledger, owner: str) -> OneByOne:
    """A worker after the longest wait."""
    return OneByOne(ledger, owner, clock=lambda: now() + 700.0)


def test_a_decoder_that_ends_its_process_ends_its_study_in_quarantine_and_no_other(
    tmp_path: Path, grey, ledger: Ledger
):
    """The worker is a process of its own: the supervisor starts it anew, and `claim` counts the deaths."""
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("DX",))))
    ids = _receive(pipeline, tmp_path, [wrap(grey, 1)])
    pipeline.worker.run_once()  # arrive
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_die_in_the_decoder, args=(ledger.url, "dead-0"))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGSEGV
    for attempt in range(1, MAX_DEATHS):
        with ledger.write() as connection:
            assert waiting.release_dead(connection, "dead", lambda _: False) == 1
        # What the next process leaves behind that ends in the same place.
        assert _later(ledger, f"dead-{attempt}").claim({Step.SCORE_IMAGE}).attempts == attempt + 1
    with ledger.write() as connection:
        waiting.release_dead(connection, "dead", lambda _: False)
    assert _later(ledger, "alive").claim({Step.SCORE_IMAGE}) is None
    with ledger.read() as connection:
        row = connection.execute(select(jobs).where(jobs.c.subject.in_(ids.values()))).mappings().one()
    assert row["state"] == "quarantined"
    assert row["error"] == "the process that ran it died, or lost its GPU, each time"


def test_places_keep_their_numbers_in_the_ledger(pipeline, tmp_path: Path):
    (dataset,) = ct_slices(5, 1)
    place(dataset, -123.456)
    ids = _receive(pipeline, tmp_path, [dataset])
    _settle(pipeline)
    with pipeline.ledger.read() as connection:
        (stored,) = predictions.latest(connection, str(dataset.StudyInstanceUID))
        (score,) = predictions.image_scores_of(connection, list(ids.values()), stored.model.digest)
    assert (score.place.position, score.place.rows) == ((0.0, 0.0, -123.456), 64)


@pytest.mark.needs_data
def test_every_public_file_is_scored_or_carries_its_reason(ledger: Ledger, data: Path, tmp_path: Path):
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria()), quiet_seconds=1e-6)
    pipeline.install(tiny_package(tmp_path / "package", frames=4))
    with (data / "dicom/INDEX.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["preamble"] == "yes"]
    received = 0
    for row in rows:
        try:
            pipeline.receive(data / "dicom" / row["source"] / row["path"])
        except (AttributeError, InvalidDicomError):
            continue  # no File Meta Information: no association would have carried it
        received += 1
    assert received >= 380
    pipeline.work(6000)
    time.sleep(0.01)
    pipeline.work(6000)
    with ledger.read() as connection:
        (digest,) = connection.execute(select(image_scores.c.model_digest).distinct()).scalars()
        scored = set(connection.execute(select(image_scores.c.instance_id)).scalars())
        kinds = [instances.get(connection, one) for one in instances.known_ids(connection)]
        left = connection.execute(select(jobs.c.step, jobs.c.state, jobs.c.error)).all()
    assert digest
    silent = [one for one in kinds if not (one.instance.id in scored or one.reason or one.kind == "report")]
    assert [(one.kind, one.instance.sop_class_uid) for one in silent] == []
    assert len(scored) >= 180  # grey pictures, each once: the set has some twice
    assert [job for job in left if job.state == "quarantined" or job.step in ("score_image", "score")] == []


def test_a_batch_of_deflated_slices_takes_no_more_memory_than_the_one_that_is_read(pipeline, tmp_path: Path):
    """One megabyte each says little of what they hold: pixels that are all alike deflate a thousandfold."""
    most: list[int] = []
    for series, count in ((7, 1), (8, 16)):
        slices = list(ct_slices(series, count))
        for one in slices:
            one.Rows = one.Columns = 1024
            one.PixelData = bytes(1024 * 1024 * 2)
            one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        _arrive(pipeline, tmp_path, slices)
        batch = WorkQueue(pipeline.ledger, "here").claim_many({Step.SCORE_IMAGE})
        assert len(batch) == count
        tracemalloc.start()
        outcomes = pipeline.stages[Step.SCORE_IMAGE].run_all(batch)
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert {outcome.name for outcome in outcomes} == {"scored"}
    alone, together = most
    assert together - alone < 8 * 1024 * 1024 * 2
