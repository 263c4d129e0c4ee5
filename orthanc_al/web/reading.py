"""The API of reading: who reads, confirm or reject, done, back on the list, and which study is next.

Pages, the toolbar of a viewer and Orthanc's plugin all come in here, so that there is one way to sign.
"""

from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request, Response

from orthanc_al.domain import ReadValue
from orthanc_al.errors import ReadError, StudyChangedError
from orthanc_al.ledger import statements, studies, worklist
from orthanc_al.ledger.statements import Statement, Taken
from orthanc_al.web import reader as readers
from orthanc_al.web import words
from orthanc_al.web.api import line_of
from orthanc_al.web.auth import OrderedHere
from orthanc_al.web.context import Context, Here
from orthanc_al.web.reader import Reader, TheReader, person_name_of
from orthanc_al.web.reading_schemas import (
    ClosedModel,
    DoneIn,
    MeModel,
    NameIn,
    NextModel,
    ReadIn,
    ReopenIn,
    TakenModel,
)

router = APIRouter(prefix="/api/v1")

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    403: {"description": "A foreign page, or nobody is known who could sign."},
    404: {"description": "No such study."},
    409: {"description": "Images came since the study was opened, or they are not one person's."},
    422: {"description": "The finding is none that a model looks for, or the name is nobody's."},
}


@router.get("/me")
def read_me(here: Here, reader: TheReader) -> MeModel:
    """Say who reads, and how that is known."""
    return MeModel(
        reader=reader.name,
        identified_by=reader.identified_by,
        may_confirm=bool(reader.name) or reader.may_speak_for_others,
        may_name_reader=reader.may_speak_for_others,
        findings=findings_of(here),
    )


@router.post("/me", responses={403: _ANSWERS[403], 422: _ANSWERS[422]})
def say_who_reads(
    here: Here, reader: TheReader, _: OrderedHere, said: NameIn, request: Request, response: Response
) -> MeModel:
    """Keep the reader's name for this browser until the shift is over."""
    if not reader.may_speak_for_others:
        raise HTTPException(403, "You are known by your password.")
    try:
        name = person_name_of(said.reader)
    except ReadError as error:
        raise HTTPException(422, str(error)) from error
    readers.remember(response, here, name, secure=request.url.scheme == "https")
    return read_me(here, Reader(name, "asked", may_speak_for_others=True))


@router.post("/studies/{study_instance_uid}/reads", status_code=201, responses=_ANSWERS)
def add_read(
    here: Here, reader: TheReader, _: OrderedHere, study_instance_uid: str, said: ReadIn, response: Response
) -> TakenModel:
    """Confirm or reject a finding: the read counts at once, and leaves as a verified report."""
    signer, finding, taken = confirm(here, reader, study_instance_uid, said)
    if not taken.new:
        response.status_code = 200
    return TakenModel(
        study_instance_uid=study_instance_uid,
        finding=finding,
        value=said.value,
        reader=signer.name,
        identified_by=signer.identified_by,
        reference=taken.reference,
        state=taken.state.value,
        new=taken.new,
        next=next_of(here, study_instance_uid, said.modality),
    )


@router.post("/studies/{study_instance_uid}/done", responses=_ANSWERS)
def mark_done(
    here: Here, reader: TheReader, _: OrderedHere, study_instance_uid: str, said: DoneIn
) -> ClosedModel:
    """Take a study off the worklist without a word on any finding."""
    changed = finish(here, reader, study_instance_uid, said)
    return ClosedModel(
        study_instance_uid=study_instance_uid,
        changed=changed,
        next=next_of(here, study_instance_uid, said.modality),
    )


@router.post("/studies/{study_instance_uid}/reopen", responses=_ANSWERS)
def put_back(
    here: Here, reader: TheReader, _: OrderedHere, study_instance_uid: str, said: ReopenIn
) -> ClosedModel:
    """Put a study back on the worklist, in the place that it had."""
    changed = reopen(here, reader, study_instance_uid, said)
    return ClosedModel(study_instance_uid=study_instance_uid, changed=changed, next=None)


@router.get("/studies/{study_instance_uid}/next")
def read_next(here: Here, study_instance_uid: str, modality: str = "") -> NextModel | None:
    """Return the study to be read after this one, null where the worklist is empty."""
    return next_of(here, study_instance_uid, modality)


def confirm(here: Context, reader: Reader, uid: str, said: ReadIn) -> tuple[Reader, str, Taken]:
    """Take in a read; return who signed it, of which finding, and what came of it.

    Raises
    ------
    HTTPException
        403, 404, 409 or 422 with a text for people.
    """
    signer = _signer(reader, said.reader)
    finding = said.finding or _only(findings_of(here))
    if finding not in findings_of(here):
        raise HTTPException(422, f"No model looks for {finding!r}: it is one of {findings_of(here)}.")
    statement = Statement(
        study_instance_uid=uid,
        finding=finding,
        value=ReadValue(said.value),
        revision=said.revision,
        reader=signer.name,
        identified_by=signer.identified_by,
        comment=" ".join(said.comment.split()),
        settles=said.settles,
    )
    _check_known(here, uid)
    try:
        with here.ledger.write() as connection:
            return signer, finding, statements.confirm(connection, statement, here.clock())
    except ReadError as error:
        raise _told(error) from error


def finish(here: Context, reader: Reader, uid: str, said: DoneIn) -> bool:
    """Take a study off the list; see `confirm` for what is raised."""
    signer = _signer(reader, said.reader)
    _check_known(here, uid)
    try:
        with here.ledger.write() as connection:
            return statements.done(connection, uid, said.revision, signer.name, here.clock())
    except ReadError as error:
        raise _told(error) from error


def reopen(here: Context, reader: Reader, uid: str, said: ReopenIn) -> bool:
    """Put a study back; see `confirm` for what is raised."""
    signer = _signer(reader, said.reader)
    _check_known(here, uid)
    with here.ledger.write() as connection:
        return statements.reopen(connection, uid, signer.name, here.clock())


def findings_of(here: Context) -> list[str]:
    """Return what reads may be about."""
    with here.ledger.read() as connection:
        return [finding.name for finding in here.findings(connection)]


def next_of(here: Context, uid: str, modality: str = "") -> NextModel | None:
    """Return the study after another one, with links into viewers."""
    with here.ledger.read() as connection:
        entry = worklist.following(connection, uid, modality)
    if entry is None:
        return None
    links = dict(words.viewer_links(here.viewers, entry))
    return NextModel(study=line_of(entry, 1, here.clock()), links=links)


def _signer(reader: Reader, named: str) -> Reader:
    try:
        return reader.signing(named)
    except ReadError as error:
        raise HTTPException(422, str(error)) from error


def _only(findings: list[str]) -> str:
    if len(findings) != 1:
        raise HTTPException(422, f"Name the finding: it is one of {findings}.")
    return findings[0]


def _check_known(here: Context, uid: str) -> None:
    with here.ledger.read() as connection:
        if studies.get(connection, uid) is None:
            raise HTTPException(404, f"The ledger has no study {uid}.")


def _told(error: ReadError) -> HTTPException:
    kind = "changed" if isinstance(error, StudyChangedError) else "refused"
    return HTTPException(409, str(error), headers={"x-orthanc-al-reason": kind})
