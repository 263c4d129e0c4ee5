"""What came in: one row a receive event, with its deliveries and its first job."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, func, select, update

from orthanc_al.domain import Instance, Origin, OriginKind
from orthanc_al.ledger.engine import RINGS
from orthanc_al.ledger.schema import deliveries, instances, reports
from orthanc_al.ledger.upserts import upsert
from orthanc_al.ledger.waiting import enqueue_all
from orthanc_al.observe import now
from orthanc_al.pipeline import Step

# For Processing -> For Presentation (PS3.4 B.5: DX, MG, intra-oral): two states of one exposure.
_FOR_PROCESSING: Final = {
    "1.2.840.10008.5.1.4.1.1.1.1.1": "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "1.2.840.10008.5.1.4.1.1.1.2",
    "1.2.840.10008.5.1.4.1.1.1.3.1": "1.2.840.10008.5.1.4.1.1.1.3",
}

# Asked for with each image and each study: to make a statement costs more than to run it.
_IN_ORDER: Final = select(instances).order_by(instances.c.received_at, instances.c.id)
_OF_IDS: Final = _IN_ORDER.where(instances.c.id.in_(bindparam("ids", expanding=True)))
_OF_STUDY: Final = _IN_ORDER.where(instances.c.study_instance_uid == bindparam("uid"))
_OF_STUDIES: Final = _IN_ORDER.where(instances.c.study_instance_uid.in_(bindparam("uids", expanding=True)))
_OF_SOP: Final = _IN_ORDER.where(instances.c.sop_instance_uid == bindparam("uid"))
_OF_SOPS: Final = _IN_ORDER.where(instances.c.sop_instance_uid.in_(bindparam("uids", expanding=True)))
_KNOWN: Final[Mapping[ColumnElement[str], Select[Any]]] = {
    column: select(column).where(column.in_(bindparam("among", expanding=True)))
    for column in (instances.c.id, reports.c.sop_instance_uid)
}
_HEADER: Final = ("kind", "study_instance_uid", "series_instance_uid", "modality", "sha256", "reason")
_SET_HEADER: Final = (
    update(instances)
    .where(instances.c.id == bindparam("instance_id"))
    .values({name: bindparam(name) for name in _HEADER})
)


@dataclass(frozen=True, slots=True)
class KnownInstance:
    """An instance as the ledger knows it.

    Attributes
    ----------
    origin, source, association_id
        As `orthanc_al.domain.Origin` has them (``origin`` is its ``kind``).
    kind
        image | other | report | own | duplicate | unusable; None until it has been looked at.
    reason
        Why it is of that kind, where that needs one.
    spooled
        Whether its file is still in the spool.
    """

    instance: Instance
    origin: OriginKind
    source: str
    association_id: str | None
    kind: str | None
    reason: str | None
    spooled: bool


def add(connection: Connection, instance: Instance, origin: Origin, destinations: Sequence[str]) -> bool:
    """Take an instance in: its row, a delivery to each destination, and its first job.

    All in the caller's transaction, and only once however often it is asked for the same id. An instance
    is never delivered to the peer that it came from. Objects of our own are delivered but get no job;
    where one comes back from a peer it is noted and neither delivered nor looked at (promise 2).

    Parameters
    ----------
    destinations
        Names of the peers that get it.

    Returns
    -------
    bool
        False where the ledger knew the id already.
    """
    return add_all(connection, [(instance, origin)], destinations) == 1


def add_all(
    connection: Connection, arrived: Sequence[tuple[Instance, Origin]], destinations: Sequence[str]
) -> int:
    """Take many instances in, as `add` takes one in, by few statements.

    Returns
    -------
    int
        How many the ledger did not know.
    """
    before = _known_among(connection, instances.c.id, [instance.id for instance, _ in arrived])
    fresh = {instance.id: (instance, origin) for instance, origin in arrived if instance.id not in before}
    if not fresh:
        return 0
    received = [instance.sop_instance_uid for instance, origin in fresh.values() if origin.kind != "own"]
    made_by_us = _known_among(connection, reports.c.sop_instance_uid, received)
    rows, to_deliver, to_look_at = [], [], {}
    for instance, origin in fresh.values():
        ours = origin.kind == "own"
        returned = not ours and instance.sop_instance_uid in made_by_us
        rows.append(_values(instance, origin, own=ours or returned))
        if returned:
            continue
        to_deliver += [
            {"instance_id": instance.id, "destination": name, "next_at": instance.received_at}
            for name in dict.fromkeys(destinations)
            if name != origin.source
        ]
        if not ours:
            # A clock may be set back meanwhile.
            to_look_at[Step.ARRIVE, instance.id] = min(instance.received_at, now())
    # Another listener that recovers the same spool may have been first since: then nothing is done twice.
    upsert(connection, instances, rows, ["id"])
    if to_deliver:
        upsert(connection, deliveries, to_deliver, ["instance_id", "destination"])
        connection.info[RINGS] = True
    enqueue_all(connection, to_look_at)
    return len(fresh)


def get(connection: Connection, instance_id: str) -> KnownInstance | None:
    """Return what is known of an instance, None where it is not known."""
    row = connection.execute(select(instances).where(instances.c.id == instance_id)).first()
    return None if row is None else _known(row)


def get_all(connection: Connection, ids: Sequence[str]) -> list[KnownInstance]:
    """Return what is known of instances, in the order of their arrival."""
    return [_known(row) for row in connection.execute(_OF_IDS, {"ids": list(ids)})]


def of_study(connection: Connection, study_instance_uid: str) -> list[KnownInstance]:
    """Return a study's instances that have been looked at, in the order of their arrival."""
    return [_known(row) for row in connection.execute(_OF_STUDY, {"uid": study_instance_uid})]


def of_studies(connection: Connection, uids: Collection[str]) -> dict[str, list[KnownInstance]]:
    """Return what `of_study` returns, for several studies, by Study Instance UID."""
    return _by_uid(connection, _OF_STUDIES, "study_instance_uid", uids)


def count_of_study(connection: Connection, study_instance_uid: str, but: Collection[str]) -> int:
    """Return how many distinct instances of a study have been looked at, but for those of some kinds."""
    different = func.count(instances.c.sop_instance_uid.distinct())
    query = select(different).where(
        instances.c.study_instance_uid == study_instance_uid, instances.c.kind.not_in(but)
    )
    return int(connection.execute(query).scalar_one())


def of_sop(connection: Connection, sop_instance_uid: str) -> list[KnownInstance]:
    """Return every receive event of a SOP Instance UID, in the order of their arrival."""
    return [_known(row) for row in connection.execute(_OF_SOP, {"uid": sop_instance_uid})]


def of_sops(connection: Connection, sop_instance_uids: Collection[str]) -> dict[str, list[KnownInstance]]:
    """Return what `of_sop` does, for each of several."""
    return _by_uid(connection, _OF_SOPS, "sop_instance_uid", sop_instance_uids)


def known_among(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Return which of these ids the ledger knows."""
    return _known_among(connection, instances.c.id, ids)


def known_ids(connection: Connection) -> set[str]:
    """Return the ids of all instances."""
    return set(connection.execute(select(instances.c.id)).scalars())


def set_header(
    connection: Connection,
    instance_id: str,
    *,
    kind: str,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
    modality: str | None = None,
    sha256: str | None = None,
    reason: str | None = None,
) -> None:
    """Write what the header says, once the step ``arrive`` has looked at it."""
    values = (kind, study_instance_uid, series_instance_uid, modality, sha256, reason)
    connection.execute(_SET_HEADER, {"instance_id": instance_id, **dict(zip(_HEADER, values, strict=True))})


def mark_unusable(connection: Connection, known: KnownInstance, reason: str) -> None:
    """Write why an image can't be used."""
    set_header(
        connection,
        known.instance.id,
        kind="unusable",
        study_instance_uid=known.instance.study_instance_uid,
        series_instance_uid=known.instance.series_instance_uid,
        modality=known.instance.modality,
        sha256=known.instance.sha256,
        reason=reason,
    )


def set_reason(connection: Connection, instance_id: str, reason: str | None) -> None:
    """Write what is to be said of an image that stays one: why no model is for it, say; None: nothing."""
    image = (instances.c.id == instance_id, instances.c.kind == "image")
    connection.execute(update(instances).where(*image).values(reason=reason))


def set_cleaned(connection: Connection, ids: Sequence[str]) -> None:
    """Write that the files of these instances are not in the spool any more."""
    connection.execute(update(instances).where(instances.c.id.in_(ids)).values(spooled=False))


def images_of(known: Sequence[KnownInstance]) -> list[KnownInstance]:
    """Return the images of a study that count: one of each SOP Instance UID and content, presentation first.

    For Processing images are left out where the study holds For Presentation ones of their kind.
    """
    images = [one for one in known if one.kind == "image"]
    classes = {one.instance.sop_class_uid for one in images}
    return [one for one in images if _FOR_PROCESSING.get(one.instance.sop_class_uid) not in classes]


def _known_among(connection: Connection, column: ColumnElement[str], values: Sequence[str]) -> set[str]:
    """Return which of the values are in a column."""
    if not values:
        return set()
    return set(connection.execute(_KNOWN[column], {"among": list(values)}).scalars())


def _values(instance: Instance, origin: Origin, *, own: bool) -> dict[str, Any]:
    return {
        "id": instance.id,
        "association_id": origin.association_id,
        "origin": origin.kind,
        "source": origin.source,
        "sop_class_uid": instance.sop_class_uid,
        "sop_instance_uid": instance.sop_instance_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "size": instance.size,
        "received_at": instance.received_at,
        "study_instance_uid": instance.study_instance_uid,
        "series_instance_uid": instance.series_instance_uid,
        "modality": instance.modality,
        "sha256": instance.sha256,
        "kind": "own" if own else None,
    }


def _by_uid(
    connection: Connection, query: Select[Any], name: str, uids: Collection[str]
) -> dict[str, list[KnownInstance]]:
    """Return what ``query`` finds of some UIDs, by that of its column ``name``; no UIDs, no query."""
    found: dict[str, list[KnownInstance]] = {uid: [] for uid in uids}
    for row in connection.execute(query, {"uids": list(found)}) if found else ():
        found[getattr(row, name)].append(_known(row))
    return found


def _known(row: Row[Any]) -> KnownInstance:
    instance = Instance(
        id=row.id,
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        size=row.size,
        received_at=row.received_at,
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        modality=row.modality,
        sha256=row.sha256,
    )
    return KnownInstance(
        instance, row.origin, row.source, row.association_id, row.kind, row.reason, row.spooled
    )
