"""Two IDs of one person: her reads stay in the split that she first had."""

import numpy as np
import pytest

from orthanc_al.domain import patient_key
from orthanc_al.learn.snapshot import Role, build
from orthanc_al.ledger import Ledger, facts, learning, patients, selections, training_cache
from orthanc_al.ledger.patients import Merged
from orthanc_al.ledger.response import Response
from orthanc_al.ledger.selections import AUDIT, Selection
from orthanc_al.ledger.training_cache import WantedInput
from orthanc_al.service import merging
from tests.support.learning_ledger import FINDING, MODEL, put_prediction, put_read, put_study

pytestmark = pytest.mark.both_databases


def studied(connection: object, uid: str, patient: str, *, audit: float | None = None) -> None:
    put_study(connection, uid, patient=patient)
    put_prediction(connection, uid, 0.0, embedding=np.ones(4))
    put_read(connection, uid, present=True)
    if audit is not None:
        fold = "gate" if patient == "a" else "thresholds"
        drawn = Selection(uid, AUDIT, "t", 0.1, "s", audit, "2027-01-15", fold=fold, signed_at=1.0)
        selections.add(connection, drawn)


def roles(connection: object) -> dict[str, Role]:
    cases = learning.labelled_cases(connection, {MODEL.digest})
    made = build(
        "a" * 64,
        cases,
        learning.folds(connection),
        learning.audited_patients(connection),
        Response(0, 0),
        0.2,
    )
    return {case.study_instance_uid: role for case, role in zip(made.cases, made.roles, strict=True)}


@pytest.mark.parametrize(
    ("first", "fold", "expected"),
    [
        ("b", "train", {"1.1": Role.TRAIN, "1.2": Role.TRAIN}),
        ("a", "gate", {"1.1": Role.GATE, "1.2": Role.LEFT_OUT}),
    ],
)
def test_what_has_trained_never_judges_and_what_judges_never_trains(
    ledger: Ledger, first: str, fold: str, expected: dict
) -> None:
    with ledger.write() as connection:
        studied(connection, "1.1", "a", audit=5.0)
        studied(connection, "1.2", "b")
        learning.keep_folds(connection, {"a": "gate"}, 1.0 if first == "a" else 2.0)
        learning.keep_folds(connection, {"b": "train"}, 2.0 if first == "a" else 1.0)
        other = "train" if fold == "gate" else "gate"
        assert patients.merge(connection, "b", "a", 3.0) == Merged(1, fold, other)
        assert roles(connection) == expected
        assert learning.folds(connection) == {"a": fold}


def test_without_a_night_yet_the_first_draw_of_the_two_decides(ledger: Ledger) -> None:
    with ledger.write() as connection:
        studied(connection, "1.1", "a", audit=5.0)
        studied(connection, "1.2", "b", audit=4.0)
        assert patients.merge(connection, "b", "a", 3.0) == Merged(1, None, None)
        assert set(roles(connection).values()) == {Role.THRESHOLDS, Role.LEFT_OUT}


def test_what_arrives_later_under_any_old_id_is_hers(ledger: Ledger) -> None:
    with ledger.write() as connection:
        patients.merge(connection, "a", "b", 1.0)
        patients.merge(connection, "b", "c", 2.0)
        patients.merge(connection, "a", "c", 3.0)  # said twice
        assert [patients.resolve(connection, key) for key in "abcd"] == ["c", "c", "c", "d"]


def test_a_merge_back_makes_no_circle(ledger: Ledger) -> None:
    with ledger.write() as connection:
        patients.merge(connection, "a", "b", 1.0)
        patients.merge(connection, "b", "a", 2.0)
        assert patients.resolve(connection, "a") == patients.resolve(connection, "b") == "b"


def test_she_is_forgotten_under_all_ids(ledger: Ledger) -> None:
    with ledger.write() as connection:
        studied(connection, "1.1", "a")
        training_cache.add(connection, WantedInput("1.1", "a", "i" * 32, 1, "cxr"), "file.npy", "p 1", 1.0)
        patients.merge(connection, "a", "b", 1.0)
        gone = training_cache.forget(connection, "b")
        assert (gone.studies, gone.files) == (1, ("file.npy",))
        assert patients.resolve(connection, "a") == "a"


def test_the_command_goes_by_patient_ids_and_tells_the_trail_no_name(ledger: Ledger) -> None:
    with ledger.write() as connection:
        salt = facts.patient_salt(connection)
        studied(connection, "1.1", patient_key(salt, "OLD", "here"))
    assert merging.merge(ledger, ("OLD", "here"), ("NEW", ""), "Ada").studies == 1
    with ledger.read() as connection:
        (case,) = learning.labelled_cases(connection, {MODEL.digest})
        assert case.patient_key == patient_key(salt, "NEW")
        assert case.finding == FINDING
