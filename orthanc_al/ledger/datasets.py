"""The data sets that were learned from, under their digests."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from orthanc_al.errors import LedgerError
from orthanc_al.ledger.schema import datasets
from orthanc_al.ledger.upserts import upsert


def add(connection: Connection, digest: str, content: dict[str, Any], at: float) -> None:
    """Write a data set under its digest; the same one again is the same row.

    Raises
    ------
    LedgerError
        As :func:`get`: what is there under this digest is another one.
    """
    if not upsert(connection, datasets, {"digest": digest, "created_at": at, "content": content}, ["digest"]):
        get(connection, digest)


def get(connection: Connection, digest: str) -> dict[str, Any] | None:
    """Return the content of a data set, None where there is none of this digest.

    Raises
    ------
    LedgerError
        It is not what was learned from. One that a person was taken out of (`orthanc-al forget`) says so
        in its key ``forgotten``, and can't be checked.
    """
    content = _content(connection, digest)
    if content is None or "forgotten" in content:
        return content
    if digest_of(content) != digest:
        raise LedgerError(
            f"The data set {digest[:12]} in the ledger is not what was learned from (its SHA-256 differs): "
            "restore the ledger from a backup (`orthanc-al backup`)."
        )
    return content


def drop(connection: Connection, uids: Collection[str]) -> None:
    """Take the rows of these studies out of each data set; its digest still names what was learned from.

    One whose rows can't be read is emptied: nobody can tell whether they are among them.
    """
    for digest in connection.execute(select(datasets.c.digest)).scalars().all():
        content = _content(connection, digest) or {}
        try:
            left = [row for row in content["cases"] if row["study"] not in uids]
            gone = len(content["cases"]) - len(left)
        except (KeyError, TypeError):
            changed: dict[str, Any] = {}
        else:
            if not gone:
                continue
            changed = {**content, "cases": left, "forgotten": content.get("forgotten", 0) + gone}
        connection.execute(update(datasets).where(datasets.c.digest == digest).values(content=changed))


def _content(connection: Connection, digest: str) -> dict[str, Any] | None:
    """Return what stands under a digest, an empty one where it is no JSON object, None where nothing does."""
    query = select(datasets.c.content).where(datasets.c.digest == digest)
    try:
        content = connection.execute(query).scalar_one_or_none()
    except ValueError:
        return {}
    return content if content is None or isinstance(content, dict) else {}


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a data set's content, in canonical JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
