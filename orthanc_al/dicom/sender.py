"""Sending files as they are: `orthanc-al send`, the demo and the tests."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orthanc_al.dicom import part10
from orthanc_al.dicom.association import MAXIMUM_CONTEXTS, Association, Proposal
from orthanc_al.dicom.part10 import Part10File
from orthanc_al.dicom.peer import Peer
from orthanc_al.dicom.statuses import Verdict, describe, verdict
from orthanc_al.errors import NotAnInstanceError, PeerUnreachableError

_AT_ONCE: Final = 500  # files whose heads are read before the first of them is sent


@dataclass(frozen=True, slots=True)
class FileResult:
    """What came of a file: ``status`` is the peer's answer, None where it was not sent.

    Attributes
    ----------
    delivered
        Whether the peer has it.
    text
        The answer in words, or why it was not sent.
    """

    path: Path
    delivered: bool
    status: int | None
    text: str


@dataclass(slots=True)
class SendReport:
    """What came of all files, in the order in which they were done."""

    results: list[FileResult] = field(default_factory=list)

    @property
    def delivered(self) -> int:
        """Number of files that the peer has."""
        return sum(result.delivered for result in self.results)

    @property
    def failed(self) -> list[FileResult]:
        """The files that it has not."""
        return [result for result in self.results if not result.delivered]


def send_files(
    paths: Sequence[Path],
    peer: Peer,
    calling_ae: str,
    on_progress: Callable[[FileResult], None] = lambda _: None,
) -> SendReport:
    """Send files byte for byte, each in the transfer syntax that it has.

    Files that are no DICOM and those that the peer refuses are told in the report; the others go on.

    Parameters
    ----------
    on_progress
        Called after each file.

    Raises
    ------
    PeerUnreachableError
        The peer can't be reached at all.
    """
    report = SendReport()

    def note(result: FileResult) -> None:
        report.results.append(result)
        on_progress(result)

    for start in range(0, len(paths), _AT_ONCE):
        files = list(_read_heads(paths[start : start + _AT_ONCE], note))
        for group in _groups(files):
            _send_group(group, peer, calling_ae, note)
    return report


def _read_heads(paths: Sequence[Path], note: Callable[[FileResult], None]) -> Iterator[Part10File]:
    for path in paths:
        try:
            yield part10.read(path)
        except NotAnInstanceError as error:
            note(FileResult(path, delivered=False, status=None, text=str(error)))


def _groups(files: Sequence[Part10File]) -> Iterator[list[Part10File]]:
    """Yield runs of files that one association has enough contexts for."""
    group: list[Part10File] = []
    contexts: set[tuple[str, str]] = set()
    for file in files:
        context = (file.sop_class_uid, file.transfer_syntax_uid)
        if group and len(contexts | {context}) > MAXIMUM_CONTEXTS:
            yield group
            group, contexts = [], set()
        group.append(file)
        contexts.add(context)
    if group:
        yield group


def _send_group(
    files: list[Part10File], peer: Peer, calling_ae: str, note: Callable[[FileResult], None]
) -> None:
    """Send files; where one of them ends the association, the rest go on with the next."""
    rest = list(files)
    while rest:
        wanted = dict.fromkeys((file.sop_class_uid, file.transfer_syntax_uid) for file in rest)
        with Association.open(
            peer.host,
            peer.port,
            called_ae=peer.ae_title,
            calling_ae=calling_ae,
            proposals=[Proposal(sop_class, (syntax,)) for sop_class, syntax in wanted],
            answer_timeout=peer.timeout_seconds,
            tls=peer.tls,
        ) as association:
            while rest:
                file = rest.pop(0)
                try:
                    note(_send_one(association, file, peer))
                except PeerUnreachableError as error:
                    note(FileResult(file.path, delivered=False, status=None, text=str(error)))
                    association.abort()
                    break


def _send_one(association: Association, file: Part10File, peer: Peer) -> FileResult:
    context = association.context(file.sop_class_uid, file.transfer_syntax_uid)
    if context is None:
        text = f"{peer.name} does not accept it: {file.sop_class_uid} in {file.transfer_syntax_uid}"
        return FileResult(file.path, delivered=False, status=None, text=text)
    response = association.store(context, file.sop_instance_uid, file.data_set())
    delivered = verdict(response.status) in (Verdict.DELIVERED, Verdict.DELIVERED_WITH_WARNING)
    return FileResult(file.path, delivered, response.status, describe(response.status, response.comment))
