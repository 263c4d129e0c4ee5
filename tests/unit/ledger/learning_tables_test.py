"""What the ledger keeps for learning, and that a person can be taken out of all of it."""

import numpy as np
import pytest
from sqlalchemy import func, insert, select

from orthanc_al.ledger import Ledger, learning, response, selections, training_cache
from orthanc_al.ledger import datasets as data_sets
from orthanc_al.ledger.schema import (
    datasets,
    image_scores,
    instances,
    patient_folds,
    predictions,
    reads,
    studies,
)
from orthanc_al.ledger.schema import training_cache as cache_table
from orthanc_al.ledger.selections import AUDIT, QUERY, Selection
from tests.support.learning_ledger import FINDING, MODEL, put_prediction, put_read, put_study

pytestmark = pytest.mark.both_databases

DAY = "2027-01-15"


def drawn(uid: str, kind: str, **what: object) -> Selection:
    return Selection(uid, kind, "test", 0.25, "seed", 100.0, DAY, **what)


def put_instance(connection: object, instance_id: str, uid: str, *, spooled: bool = True) -> None:
    values = {
        "id": instance_id,
        "origin": "dicom",
        "source": "pacs",
        "sop_class_uid": "1.2",
        "sop_instance_uid": f"{uid}.1",
        "transfer_syntax_uid": "1.2",
        "size": 1,
        "received_at": 0.0,
        "study_instance_uid": uid,
        "spooled": spooled,
    }
    connection.execute(insert(instances).values(**values))


def test_a_labelled_case_has_its_draw_and_the_newest_embedding(ledger: Ledger) -> None:
    with ledger.write() as connection:
        put_study(connection, "1.1", patient="p", sex="F", station="room 2", birth_date="19700101")
        put_prediction(connection, "1.1", 0.0, embedding=[1.0, 2.0])
        put_prediction(connection, "1.1", 0.5, embedding=[3.0, 4.0], revision=2, ood=0.9)
        selections.add(connection, drawn("1.1", QUERY))
        selections.add(connection, drawn("1.1", AUDIT, fold="gate"))
        put_read(connection, "1.1", present=True)
        (case,) = learning.labelled_cases(connection, {MODEL.digest})
    assert case.present
    assert case.embedding.tolist() == [3.0, 4.0]
    assert (case.kind, case.fold, case.propensity, case.ood) == (AUDIT, "gate", 0.25, 0.9)
    assert (case.sex, case.station, case.birth_date, case.patient_key) == ("F", "room 2", "19700101", "p")


def test_what_does_not_count_is_no_label(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for number, state in enumerate(("superseded", "conflict", "waiting")):
            put_study(connection, f"1.{number}")
            put_prediction(connection, f"1.{number}", 0.0)
            put_read(connection, f"1.{number}", present=True, state=state)
        put_study(connection, "2.1")
        put_prediction(connection, "2.1", 0.0)
        put_read(connection, "2.1", present=True, finding="another finding")
        put_study(connection, "2.2")
        put_prediction(connection, "2.2", 0.0)
        put_read(connection, "2.2", present=False)
        connection.execute(
            reads.update().where(reads.c.study_instance_uid == "2.2").values(value="undetermined")
        )
        assert learning.labelled_cases(connection, {MODEL.digest}) == []


def test_embeddings_of_another_backbone_are_left_out(ledger: Ledger) -> None:
    with ledger.write() as connection:
        put_study(connection, "1.1")
        put_prediction(connection, "1.1", 0.0)
        put_read(connection, "1.1", present=True)
        assert learning.labelled_cases(connection, {"b" * 64}) == []
        (case,) = learning.labelled_cases(connection, {MODEL.digest})
    assert case.kind == "unasked"
    assert (case.propensity, case.fold) == (0.0, None)


def test_the_response_counts_what_was_drawn_long_enough_ago(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for number in range(3):
            selections.add(connection, drawn(f"1.{number}", AUDIT, fold="gate"))
        put_read(connection, "1.0", present=True)
        selections.add(connection, drawn("1.9", QUERY))
        put_read(connection, "1.9", present=True)
        assert response.audit_response(connection, 101.0).unread_share == pytest.approx(2 / 3)
        assert response.audit_response(connection, 100.0).drawn == 0


def test_an_audit_that_gave_no_label_is_no_answer_whoever_signed_it(ledger: Ledger) -> None:
    silent: list[dict] = [
        {},  # done with, without a word: the label al-read, a final report
        {"state": "conflict"},
        {"state": "waiting"},
        {"ai_shown": True},
    ]
    with ledger.write() as connection:
        for number, how in enumerate(silent):
            selections.add(connection, drawn(f"1.{number}", AUDIT, fold="gate", signed_at=1.0))
            if how:
                put_read(connection, f"1.{number}", present=True, **how)
        selections.add(connection, drawn("2.1", AUDIT, fold="gate", signed_at=1.0))
        put_read(connection, "2.1", present=True)
        connection.execute(
            reads.update().where(reads.c.study_instance_uid == "2.1").values(value="undetermined")
        )
        assert response.audit_response(connection, 101.0) == response.Response(5, 0)


def test_a_fold_once_kept_never_changes(ledger: Ledger) -> None:
    with ledger.write() as connection:
        learning.keep_folds(connection, {"p": "gate"}, 1.0)
        learning.keep_folds(connection, {"p": "train", "q": "train"}, 2.0)
        learning.keep_folds(connection, {}, 3.0)
        assert learning.folds(connection) == {"p": "gate", "q": "train"}


def test_a_candidate_is_judged_once_for_a_champion_a_data_set_and_a_version(ledger: Ledger) -> None:
    with ledger.write() as connection:
        learning.add_change_record(
            connection,
            model_name="cxr",
            champion="a",
            candidate=None,
            dataset_digest="d",
            verdict="not_enough",
            content={"candidate_version": "1.site.1"},
            at=1.0,
        )
        assert learning.was_judged(connection, "a", "1.site.1")
        assert not learning.was_judged(connection, "a", "1.site.2")
        assert not learning.was_judged(connection, "b", "1.site.1")
        assert [row["verdict"] for row in learning.change_records(connection, "cxr")] == ["not_enough"]


def test_inputs_are_wanted_of_labelled_and_drawn_cases_while_the_spool_has_them(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for number, spooled in enumerate((True, True, True, False)):
            uid, instance = f"1.{number}", f"{number}" * 32
            put_instance(connection, instance, uid, spooled=spooled)
            put_study(connection, uid)
            put_prediction(connection, uid, 0.0)
            connection.execute(
                predictions.update()
                .where(predictions.c.study_instance_uid == uid)
                .values(instance_id=instance)
            )
        put_read(connection, "1.0", present=True)
        selections.add(connection, drawn("1.1", AUDIT, fold="gate"))
        put_read(connection, "1.3", present=True)
        wanted = training_cache.wanted(connection)
        assert [image.study_instance_uid for image in wanted] == ["1.0", "1.1"]
        training_cache.add(connection, wanted[0], "file.npy", "grey-square 1", 1.0)
        assert [image.study_instance_uid for image in training_cache.wanted(connection)] == ["1.1"]


def test_a_forgotten_person_is_in_no_table_of_what_is_learned(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for uid, patient in (("1.1", "gone"), ("1.2", "stays")):
            put_instance(connection, uid.replace(".", "") * 16, uid)
            put_study(connection, uid, patient=patient, patient_name="Doe^J", patient_id="4711", sex="F")
            put_prediction(connection, uid, 0.0)
            put_read(connection, uid, present=True)
            selections.add(connection, drawn(uid, AUDIT, fold="gate"))
            connection.execute(
                insert(image_scores).values(
                    instance_id=uid.replace(".", "") * 16,
                    frame=1,
                    model_digest=MODEL.digest,
                    logits=[0.0],
                    embedding=np.zeros(1, np.float32).tobytes(),
                    regions=[None],
                )
            )
            image = training_cache.WantedInput(uid, patient, uid.replace(".", "") * 16, 1, "cxr")
            training_cache.add(connection, image, f"{patient}.npy", "grey-square 1", 1.0)
        learning.keep_folds(connection, {"gone": "gate", "stays": "gate"}, 1.0)
        for digest, uids in (("d" * 64, ("1.1", "1.2")), ("e" * 64, ("1.2",))):
            data_sets.add(connection, digest, {"cases": [{"study": uid} for uid in uids]}, 1.0)

        forgotten = training_cache.forget(connection, "gone")

        assert forgotten.files == ("gone.npy",)
        assert (forgotten.studies, forgotten.reads, forgotten.predictions) == (1, 1, 1)
        assert (forgotten.selections, forgotten.spooled) == (1, 1)
        for table in (reads, predictions, selections.selections, image_scores, cache_table, patient_folds):
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 1, table.name
        rows = {row["study_instance_uid"]: row for row in connection.execute(select(studies)).mappings()}
        assert (rows["1.1"]["patient_name"], rows["1.1"]["patient_id"], rows["1.1"]["sex"]) == ("", "", "")
        assert rows["1.2"]["patient_name"] == "Doe^J"
        (left,) = learning.labelled_cases(connection, {MODEL.digest})
        assert (left.patient_key, left.finding) == ("stays", FINDING)
        contents = {row.digest[0]: row.content for row in connection.execute(select(datasets))}
        assert contents["d"] == {"cases": [{"study": "1.2"}], "forgotten": 1}
        assert contents["e"] == {"cases": [{"study": "1.2"}]}
