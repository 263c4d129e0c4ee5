"""Reads beside what the model said before them."""

import pytest
from sqlalchemy import update

from orthanc_al.ledger import Ledger, selections
from orthanc_al.ledger.agreement import ComparedRead, compared_reads
from orthanc_al.ledger.schema import reads
from orthanc_al.ledger.selections import AUDIT, Selection
from orthanc_al.methods.automation_bias import automation_bias
from tests.support.learning_ledger import FINDING, MODEL, put_prediction, put_read, put_study

pytestmark = pytest.mark.both_databases


def test_shown_reads_and_blind_audits_are_compared_and_nothing_else(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for number, (shown, audited) in enumerate([(True, False), (False, True), (False, False)]):
            uid = f"1.{number}"
            put_study(connection, uid)
            put_prediction(connection, uid, 2.0, scored_at=10.0)
            put_prediction(connection, uid, -9.0, scored_at=99.0, revision=2)  # came after the read
            put_read(connection, uid, present=True, at=20.0 + number, ai_shown=shown)
            if audited:
                drawn = Selection(uid, AUDIT, "t", 0.1, "s", 0.0, "2027-01-15", fold="gate")
                selections.add(connection, drawn)
        put_study(connection, "1.9")
        put_prediction(connection, "1.9", 0.0)
        put_read(connection, "1.9", present=True, at=20.0, ai_shown=True, state="conflict")
        found = compared_reads(connection, MODEL.name, FINDING)
        assert [one.shown for one in found] == [True, False]
        assert {round(one.probability, 3) for one in found} == {0.881}
        assert compared_reads(connection, MODEL.name, FINDING, since=20.5) == found[1:]
        assert compared_reads(connection, "another", FINDING) == []
        connection.execute(update(reads).where(reads.c.study_instance_uid == "1.1").values(value="absent"))
        found = compared_reads(connection, MODEL.name, FINDING)
    bias = automation_bias(*zip(*((r.probability, r.present, r.shown) for r in found), strict=True))
    assert bias is not None
    assert bias.difference == 1.0
    assert found[1] == ComparedRead(found[1].probability, present=False, shown=False)
