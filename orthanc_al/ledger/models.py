"""The registry: which model packages there are, and which of them is live.

A package holds head, calibrator and thresholds, so a promotion or a rollback, being one row that names a
package, swaps all three as one. The champion of a model name is its last row in ``promotions``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from orthanc_al.domain import ModelRef
from orthanc_al.errors import ModelError, PackageRefusedError
from orthanc_al.ledger import trail
from orthanc_al.ledger.schema import models, promotions
from orthanc_al.observe import now

CONVERTED: Final = "converted"
"""Origin of a package that is its parent at another precision: head and thresholds are the parent's."""

_INSTALLER: Final = "configuration"

_LIVE: Final = (
    select(promotions.c.digest)
    .where(promotions.c.model_name == bindparam("name"))
    .order_by(promotions.c.id.desc())
    .limit(1)
)
# Asked for with each image and each study: to make a statement costs more than to run it.
_CHAMPION: Final = select(models).where(models.c.digest == _LIVE.scalar_subquery())
_OF_DIGEST: Final = select(models).where(models.c.digest == bindparam("digest"))
_CANDIDATE: Final = (
    select(models)
    .where(
        models.c.name == bindparam("name"),
        models.c.state == "candidate",
        models.c.parent == _LIVE.scalar_subquery(),
    )
    .order_by(models.c.created_at.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model package that the ledger knows.

    Attributes
    ----------
    folder
        Where the package is.
    parent
        Digest of the package that this one was made from; None for a factory package.
    origin
        ``factory``, ``retrained`` (a head of its own on its parent's backbone), ``finetuned`` (all of it) or
        ``converted`` (its parent at another precision).
    state
        ``known``, ``candidate``, ``refused`` or ``promoted`` (at some time).
    created_at
        Seconds since 1970, UTC.
    """

    ref: ModelRef
    folder: Path
    parent: str | None
    origin: str
    state: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Promotion:
    """One change of champion, as ``promotions`` tells it."""

    model_name: str
    digest: str
    previous: str | None
    kind: str
    approver: str
    reason: str
    at: float


def champion(connection: Connection, name: str) -> RegisteredModel | None:
    """Return the live package of model ``name``, None where none was ever installed."""
    row = connection.execute(_CHAMPION, {"name": name}).mappings().first()
    return None if row is None else _model(row)


def candidate(connection: Connection, name: str) -> RegisteredModel | None:
    """Return the newest candidate of model ``name`` that was made from its live package, None without one."""
    row = connection.execute(_CANDIDATE, {"name": name}).mappings().first()
    return None if row is None else _model(row)


def live(connection: Connection, name: str) -> RegisteredModel:
    """Return the live package of model ``name``.

    Raises
    ------
    ModelError
        None is.
    """
    found = champion(connection, name)
    if found is None:
        raise ModelError(
            f"No package of {name} is live: `orthanc-al serve` installs those that the configuration names, "
            "and `orthanc-al models list` shows what is known."
        )
    return found


def get(connection: Connection, digest: str) -> RegisteredModel:
    """Return the package with ``digest``.

    Raises
    ------
    ModelError
        The ledger does not know it.
    """
    row = connection.execute(_OF_DIGEST, {"digest": digest}).mappings().first()
    if row is None:
        raise ModelError(f"No model package has the digest {digest}; `orthanc-al models list` shows them.")
    return _model(row)


def find(connection: Connection, name: str, version: str) -> RegisteredModel | None:
    """Return the package of ``name`` that has ``version``, or whose digest starts so; None where none does.

    Raises
    ------
    ModelError
        Several digests start so.
    """
    rows = [model for model in versions(connection, name) if model.ref.version == version] or [
        model for model in versions(connection, name) if version and model.ref.digest.startswith(version)
    ]
    if len(rows) > 1:
        raise ModelError(
            f"Several packages of {name} have a digest that starts with {version}: give more of it."
        )
    return rows[0] if rows else None


def versions(connection: Connection, name: str | None = None) -> list[RegisteredModel]:
    """Return all packages (of model ``name``), oldest first."""
    query = select(models).order_by(models.c.name, models.c.created_at, models.c.version)
    if name is not None:
        query = query.where(models.c.name == name)
    return [_model(row) for row in connection.execute(query).mappings()]


def install(connection: Connection, ref: ModelRef, folder: Path) -> bool:
    """Make a configured package known and live; return False where the ledger knew it already.

    A package that was installed once and replaced by a retrained one stays replaced: only a package
    that the ledger has never seen takes over.

    Raises
    ------
    PackageRefusedError
        Another package has this name and version.
    """
    known = connection.execute(
        select(models.c.folder).where(models.c.digest == ref.digest)
    ).scalar_one_or_none()
    if known is not None:
        if known != str(folder):
            connection.execute(update(models).where(models.c.digest == ref.digest).values(folder=str(folder)))
        return False
    add(connection, ref, folder, parent=None, origin="factory", state="promoted")
    _go_live(connection, ref, "installed", _INSTALLER, "named by the configuration")
    return True


def add(
    connection: Connection,
    ref: ModelRef,
    folder: Path,
    *,
    parent: str | None,
    origin: str,
    state: str,
    at: float | None = None,
) -> None:
    """Make a package known without making it live; one that is known already takes the new state.

    Parameters
    ----------
    at
        When it was made, in seconds since 1970; now, where it is left out.

    Raises
    ------
    PackageRefusedError
        Another package has this name and version.
    """
    same = select(models.c.digest).where(models.c.name == ref.name, models.c.version == ref.version)
    other = connection.execute(same).scalar_one_or_none()
    if other is None:
        connection.execute(
            insert(models).values(
                digest=ref.digest,
                name=ref.name,
                version=ref.version,
                folder=str(folder),
                parent=parent,
                origin=origin,
                state=state,
                created_at=now() if at is None else at,
            )
        )
    elif other != ref.digest:
        raise PackageRefusedError(
            f"{ref} has the version of another package of that model ({other[:12]}): a changed package "
            "needs a version of its own in its manifest."
        )
    else:
        connection.execute(
            update(models)
            .where(models.c.digest == ref.digest, models.c.state != "promoted")
            .values(state=state)
        )


def promote(connection: Connection, digest: str, approver: str, reason: str) -> bool:
    """Make a package live; return False where it is live already.

    Raises
    ------
    ModelError
        The ledger does not know it, or the gate refused it.
    """
    model = get(connection, digest)
    if model.state == "refused":
        raise ModelError(f"{model.ref} was refused by the gate; `orthanc-al models show` tells why.")
    if _champion_digest(connection, model.ref.name) == digest:
        return False
    connection.execute(update(models).where(models.c.digest == digest).values(state="promoted"))
    _go_live(connection, model.ref, "promoted", approver, reason)
    return True


def rollback(
    connection: Connection,
    name: str,
    approver: str,
    reason: str,
    holds: Callable[[Path, ModelRef], object] = lambda *_: None,
) -> RegisteredModel:
    """Make the package live that was so before the champion; return it.

    Asked twice, it goes back twice: a rollback is not undone by the next one.

    Parameters
    ----------
    holds
        Raises where the package can't be loaded from its folder: going back to it would stop scoring.

    Raises
    ------
    ModelError
        Nothing was live before.
    """
    model = previous(connection, name)
    if model is None:
        raise ModelError(f"There is nothing to roll back to: no package of {name} was live before this one.")
    holds(model.folder, model.ref)
    _go_live(connection, model.ref, "rolled_back", approver, reason)
    return model


def previous(connection: Connection, name: str) -> RegisteredModel | None:
    """Return the package that a rollback of model ``name`` would make live, None where there is none."""
    current = _champion_digest(connection, name)
    came = (
        select(promotions.c.previous)
        .where(
            promotions.c.model_name == name,
            promotions.c.digest == current,
            promotions.c.kind != "rolled_back",
        )
        .order_by(promotions.c.id.desc())
        .limit(1)
    )
    digest = connection.execute(came).scalar_one_or_none()
    return None if digest is None else get(connection, digest)


def history(connection: Connection, name: str) -> list[Promotion]:
    """Return the changes of champion of model ``name``, newest first."""
    query = select(promotions).where(promotions.c.model_name == name).order_by(promotions.c.id.desc())
    return [
        Promotion(**{key: value for key, value in row.items() if key != "id"})
        for row in connection.execute(query).mappings()
    ]


def _champion_digest(connection: Connection, name: str) -> str | None:
    found: Any = connection.execute(_LIVE, {"name": name}).scalar_one_or_none()
    return None if found is None else str(found)


def _go_live(connection: Connection, ref: ModelRef, kind: str, approver: str, reason: str) -> None:
    previous = _champion_digest(connection, ref.name)
    connection.execute(
        insert(promotions).values(
            model_name=ref.name,
            digest=ref.digest,
            previous=previous,
            kind=kind,
            approver=approver,
            reason=reason,
            at=now(),
        )
    )
    trail.record(
        connection,
        approver,
        f"model_{kind}",
        ref.digest,
        model=ref.name,
        version=ref.version,
        previous=previous,
    )


def _model(row: RowMapping) -> RegisteredModel:
    return RegisteredModel(
        ref=ModelRef(row["name"], row["version"], row["digest"]),
        folder=Path(row["folder"]),
        parent=row["parent"],
        origin=row["origin"],
        state=row["state"],
        created_at=row["created_at"],
    )
