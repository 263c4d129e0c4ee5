"""Forwarding delay: how much later an instance is at the far side while the model works than while it rests.

CT slices come one by one, 33 a second, over one association; the delay of each is what our ledger says,
from its first byte to the far side's answer. Busy: a backlog of radiographs is being scored meanwhile, all
the time; off: the same backlog waits, since scoring is paused. Slices are of no model's modality, but
looked into as ever.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import select

from orthanc_al.dicom import Association, Proposal, Verdict, verdict
from orthanc_al.ledger.schema import deliveries, instances
from tests.bench.scoring import House, house, only_scoring_waits, pause, scored
from tests.bench.sending import CALLING_AE, Payload, send
from tests.bench.series import Series, Step
from tests.bench.watching import quiesce
from tests.support.site import wait_until
from tests.support.synthetic import ct_study, film

BUSY, OFF = "orthanc_al, scoring busy", "the same, scoring off"
_SLICES = 40
_PACE_SECONDS = 0.03
_BACKLOG = 150  # radiographs of 2 MB: some seconds of scoring


def measure(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take the delays with scoring paused and with scoring busy, in turn."""
    rng = np.random.default_rng(3)
    series = {
        share: Series(f"forwarding delay of CT 0.5 MB, {name}", "ms", higher_is_better=False)
        for share, name in ((50, "median"), (99, "99th percentile"))
    }
    with house(folder / "delays") as ours:
        for number in range(rounds):
            for busy in (number % 2 == 0, number % 2 == 1):
                delays = _delays(ours, rng, busy=busy)
                for share, one in series.items():
                    one.add(BUSY if busy else OFF, float(np.percentile(delays, share)) * 1e3)
            step()
    return [one.led_by(BUSY) for one in series.values()]


def _delays(ours: House, rng: np.random.Generator, *, busy: bool) -> list[float]:
    """Return the delays of some slices in seconds."""
    quiesce(ours.ledger)
    pause(ours.ledger, "yes")
    films = [film(rng, 1500, 1400, 8) for _ in range(_BACKLOG)]
    for image in films:
        image.NumberOfStudyRelatedInstances = 1
    before = scored(ours.ledger)
    send([Payload.of(image) for image in films], ours.peer)
    wait_until(lambda: only_scoring_waits(ours.ledger, _BACKLOG), 120, "the films did not come in")
    slices = [Payload.of(image) for image in ct_study(rng, _SLICES)]
    if busy:
        pause(ours.ledger, "no")
        wait_until(lambda: scored(ours.ledger) > before, 60, "nothing is scored")
    _trickle(slices, ours)
    done = scored(ours.ledger) - before
    if busy and done >= _BACKLOG:
        raise RuntimeError("the backlog was scored before the last slice came: make it longer")
    pause(ours.ledger, "no")
    wait_until(lambda: scored(ours.ledger) - before >= _BACKLOG, 120, "the backlog was not scored")
    return _from_ledger(ours, [one.sop_instance_uid for one in slices])


def _trickle(slices: Sequence[Payload], ours: House) -> None:
    proposal = Proposal(slices[0].sop_class_uid, (ExplicitVRLittleEndian,))
    address = (ours.peer.host, ours.peer.port)
    with Association.open(
        *address, called_ae=ours.peer.ae_title, calling_ae=CALLING_AE, proposals=[proposal]
    ) as association:
        began, rest = time.perf_counter(), threading.Event()
        for number, one in enumerate(slices):
            rest.wait(max(0.0, began + number * _PACE_SECONDS - time.perf_counter()))
            response = association.store(association.contexts[0], one.sop_instance_uid, one.data_set)
            if verdict(response.status) is not Verdict.DELIVERED:
                raise RuntimeError(f"a slice was answered 0x{response.status:04X}")


def _from_ledger(ours: House, uids: Sequence[str]) -> list[float]:
    query = (
        select(deliveries.c.done_at - instances.c.received_at)
        .join(instances, instances.c.id == deliveries.c.instance_id)
        .where(instances.c.sop_instance_uid.in_(uids), deliveries.c.done_at.is_not(None))
    )

    def found() -> list[float]:
        with ours.ledger.read() as connection:
            return [float(value) for value in connection.execute(query).scalars()]

    wait_until(lambda: len(found()) == len(uids), 120, "the slices were not delivered")
    return found()
