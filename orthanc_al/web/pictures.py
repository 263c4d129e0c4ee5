"""The picture of a study, from the spool or the training cache: made when it is asked for, kept a while."""

from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from fastapi import APIRouter, Response

from orthanc_al.domain import Region
from orthanc_al.errors import InstanceError, PackageRefusedError, StorageError
from orthanc_al.imaging.thumbnail import picture_of_input, thumbnail
from orthanc_al.inference.manifest import parse_manifest
from orthanc_al.inference.package import MANIFEST
from orthanc_al.ledger import pictures
from orthanc_al.ledger.pictures import Marking, Picture
from orthanc_al.spool import Spool
from orthanc_al.web.context import Context, Here

router = APIRouter(include_in_schema=False)

SIDES: Final = {"small": 112, "large": 720}
_NOTHING: Final = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'


@router.get("/studies/{study_instance_uid}/picture")
def show_picture(
    here: Here, study_instance_uid: str, size: Literal["small", "large"] = "small", marked: bool = False
) -> Response:
    """Return the study's picture; an empty one where none can be had, so that a list has no holes."""
    with here.ledger.read() as connection:
        oldest = here.clock() - here.keep_seconds
        picture = pictures.of_study(connection, study_instance_uid, oldest)
    png = None if picture is None else _made(here, picture, SIDES[size], marked=marked)
    if png is None:
        return Response(_NOTHING, media_type="image/svg+xml")
    return Response(png, media_type="image/png")


def _made(here: Context, picture: Picture, side: int, *, marked: bool) -> bytes | None:
    region = _region(picture.marking) if marked and picture.marking else None
    try:
        if picture.spooled:
            path = Spool(here.spool, 0).path(picture.instance_id)
            key = (picture.instance_id, picture.frame, side, region)
            return here.kept.get(key, lambda: thumbnail(path, picture.frame, side, region))
        if picture.cached:
            return picture_of_input(here.training_cache / picture.cached, side)
    except (InstanceError, StorageError, OSError, ValueError):
        return None
    return None


def _region(marking: Marking) -> Region | None:
    try:
        names = _findings(marking.folder, marking.model_digest)
    except (OSError, PackageRefusedError):
        names = (marking.finding,)  # the package is gone: where it knew one finding, it was this one
    regions = dict(zip(names, marking.regions, strict=False)) if len(names) == len(marking.regions) else {}
    return regions.get(marking.finding)


@lru_cache(maxsize=64)
def _findings(folder: Path, digest: str) -> tuple[str, ...]:
    del digest  # a package is never changed in place: digest and folder are its key
    return tuple(entry.name for entry in parse_manifest((folder / MANIFEST).read_bytes()).findings)
