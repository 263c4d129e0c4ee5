"""Store and forward: from the first byte in until the last instance is at the far side.

The far sides are two storescp +B of their own; before them our whole service, and Orthanc that routes
every instance on by Lua (OnStoredInstance, SendToModality).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orthanc_al.dicom import Peer
from orthanc_al.ledger import Ledger
from tests.bench.sending import CALLING_AE, Payload, megabytes, send
from tests.bench.series import Series, Step, rotated
from tests.bench.watching import arrival, names, quiesce
from tests.support.plain_orthanc import PlainOrthanc
from tests.support.site import Site, StoreSCP, peer
from tests.support.synthetic import ct_study, film

OURS = "orthanc_al, durable"
ORTHANC = "Orthanc, Lua autorouting"
_ROUTE = "function OnStoredInstance(id, tags, metadata, origin)\n  SendToModality(id, 'far')\nend\n"


@dataclass(frozen=True)
class _Way:
    """A gateway, the folder of the far side behind it, and our ledger where it is ours."""

    peer: Peer
    far: Path
    ledger: Ledger | None = None


def measure(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Send the same images through both gateways, in turn."""
    rng = np.random.default_rng(1)
    makes = {
        "100 CT of 0.5 MB": lambda: [Payload.of(image) for image in ct_study(rng, 100)],
        "a film of 15 MB": lambda: [Payload.of(film(rng))],
    }
    series = {
        name: Series(f"store and forward {name}, first byte to far side", "s", higher_is_better=False)
        for name in makes
    }
    with _ways(folder) as ways:
        for number in range(rounds):
            for name, make in makes.items():
                payloads = make()
                for who, way in rotated(ways, number):
                    series[name].add(who, _seconds(payloads, way))
            step()
    return [one.led_by(OURS) for one in series.values()]


def _seconds(payloads: list[Payload], way: _Way) -> float:
    quiesce(way.ledger)
    known = names(way.far)
    sent = send(payloads, way.peer)
    return arrival(way.far, known, len(payloads), megabytes(payloads)) - sent.began_at


@contextmanager
def _ways(folder: Path) -> Iterator[dict[str, _Way]]:
    with ExitStack() as stack:
        far = {}
        for name in ("ours", "theirs"):
            far[name] = StoreSCP(folder / f"far-{name}", ae_title="FAR")
            far[name].start()
            stack.callback(far[name].stop)
        site = Site(
            folder / "gateway",
            [peer("bench", CALLING_AE, 1, "source"), peer("far", "FAR", far["ours"].port, "destination")],
            {"models": [], "assemble": {"quiet_seconds": {"default": 0.5, "CR": 0.5, "DX": 0.5}}},
        )
        site.start()
        stack.callback(site.stop)
        orthanc = stack.enter_context(
            PlainOrthanc(
                folder / "routing-orthanc",
                lua=_ROUTE,
                modalities={"far": ("FAR", "127.0.0.1", far["theirs"].port)},
            )
        )
        yield {
            OURS: _Way(
                Peer("us", "ORTHANC_AL", "127.0.0.1", site.port),
                far["ours"].folder,
                stack.enter_context(site.ledger()),
            ),
            ORTHANC: _Way(
                Peer("orthanc", orthanc.ae_title, "127.0.0.1", orthanc.dicom_port), far["theirs"].folder
            ),
        }
