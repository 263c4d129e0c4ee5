"""What a candidate did in shadow, as far as it may be told."""

import pytest
from sqlalchemy import update

from orthanc_al.ledger import Ledger, selections, shadow
from orthanc_al.ledger.schema import selections as selection_table
from orthanc_al.ledger.selections import AUDIT, Selection
from orthanc_al.ledger.shadow import ShadowScore
from tests.support.learning_ledger import FINDING, put_study

pytestmark = pytest.mark.both_databases


def test_a_blind_audit_is_in_no_agreement_until_its_read_is_signed(ledger: Ledger) -> None:
    """With one audit among the studies of a day, agreement would tell what both models say of it."""
    with ledger.write() as connection:
        put_study(connection, "1.1", placed_at=1.0)
        put_study(connection, "1.2", placed_at=1.0, blind=True)
        put_study(connection, "1.3")  # its place is not found yet: it may be drawn
        selections.add(connection, Selection("1.2", AUDIT, "t", 0.1, "s", 0.0, "2027-01-15", fold="gate"))
        shadow.put(
            connection,
            [
                ShadowScore(uid, "new", "old", FINDING, 1.0, flagged=True, champion_flagged=agree)
                for uid, agree in (("1.1", True), ("1.2", False), ("1.3", False))
            ],
        )
    with ledger.read() as connection:
        seen = shadow.seen_by(connection, "new")
        every = shadow.seen_by(connection, "new", blind=True)
    assert (seen.studies, seen.findings[FINDING].same_side) == (3, 1.0)
    assert every.findings[FINDING].same_side == pytest.approx(1 / 3)  # what the gate decides by
    with ledger.write() as connection:
        connection.execute(update(selection_table).values(signed_at=2.0))
        seen = shadow.seen_by(connection, "new")
    assert (seen.studies, seen.findings[FINDING].same_side) == (3, 0.5)
