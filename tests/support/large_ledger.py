"""A ledger with as many studies as a large hospital keeps, written at once."""

import random

from sqlalchemy import insert

from orthanc_al.ledger import Ledger, schema
from tests.support.worklist_ledger import DIGESTS, NOW

_TIERS = {"high": 15, "review": 60, "low": 480}


def fill_large(ledger: Ledger, count: int, waiting: int) -> None:
    """Write ``count`` studies, of which the newest ``waiting`` are still to be read."""
    draw = random.Random(5)
    studies, predictions, selections = [], [], []
    for number in range(count):
        uid, arrived = f"2.25.{10_000 + number}", NOW - 40.0 * number
        blind, tier = number % 25 == 0, draw.choice(list(_TIERS))
        open_ = number < waiting
        studies.append(
            {
                "study_instance_uid": uid,
                "patient_key": f"{number:032x}",
                "patient_id": str(48_213 + number),
                "patient_name": f"{draw.choice(('Okafor', 'Novak', 'Weiss'))}^N{number}",
                "accession_number": f"A{number:07d}",
                "description": "Chest PA",
                "modality": draw.choice(("DX", "DX", "CR")),
                "body_part": "CHEST",
                "state": "scored" if open_ else "read",
                "revision": 1,
                "completed_revision": 1,
                "arrived_at": arrived,
                "last_received_at": arrived,
                "closed_at": None if open_ else arrived + 900,
                "read_by": int(arrived // 60) + (240 if blind else _TIERS[tier]),
                "tier": "none" if blind else tier,
                "why": "" if blind else "made up",
                "placed_at": arrived + 5,
                "blind": blind and open_,
            }
        )
        predictions.append(
            {
                "study_instance_uid": uid,
                "revision": 1,
                "model_name": "cxr-pneumonia",
                "model_version": "1.1.0",
                "model_digest": DIGESTS["1.1.0"],
                "finding": "pneumonia",
                "logit": 0.0,
                "probability": 0.5,
                "embedding": b"",
                "tier": tier,
                "why": "made up",
                "read_by": 1,
                "scored_at": arrived + 4,
            }
        )
        if blind or number % 20 == 0:
            selections.append(
                {
                    "study_instance_uid": uid,
                    "kind": "audit" if blind else "query",
                    "strategy": "made up",
                    "propensity": 0.04,
                    "seed": "5eed",
                    "decided_at": arrived + 5,
                    "day": "2026-09-21",
                }
            )
    with ledger.write() as connection:
        connection.execute(insert(schema.studies), studies)
        connection.execute(insert(schema.predictions), predictions)
        connection.execute(insert(schema.selections), selections)
