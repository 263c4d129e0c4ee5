"""docs/conformance.md says what the program accepts, answers and makes, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes, RLELossless
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    DigitalXRayImageStorageForPresentation,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from orthanc_al.dicom import faults, statuses
from orthanc_al.dicom.acceptor import Acceptor
from orthanc_al.dicom.transcode import UNCOMPRESSED
from orthanc_al.domain import Code, concepts
from orthanc_al.domain.identity import IMPLEMENTATION_CLASS_UID
from orthanc_al.imaging import codecs
from orthanc_al.orthanc import client
from orthanc_al.receive import intake, policy, services
from orthanc_al.report import mirror
from orthanc_al.review import labels
from orthanc_al.settings import Settings
from orthanc_al.spool import part10

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
TAKEN_AS = {
    statuses.Verdict.DELIVERED: "delivered",
    statuses.Verdict.DELIVERED_WITH_WARNING: "delivered, with the remark",
    statuses.Verdict.BUSY: "busy",
    statuses.Verdict.DOUBTFUL: "doubtful",
    statuses.Verdict.REFUSED: "refused",
}
FIRST_CHOICE = "1.2.840.10008.1.2.4.90"


def _section(title: str) -> str:
    return PAGE.split(f" {title}\n", 1)[1].split("\n#", 1)[0]


def _rows(title: str) -> list[list[str]]:
    lines = [line for line in _section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def association() -> Iterator[Association]:
    acceptor = Acceptor("ORTHANC_AL", "127.0.0.1", 0, 1, [(evt.EVT_C_STORE, lambda _: 0x0000)])
    acceptor.start()
    requestor = AE()
    requestor.add_requested_context(Verification)
    requestor.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    requestor.add_requested_context(StorageCommitmentPushModel)
    requestor.add_requested_context(
        DigitalXRayImageStorageForPresentation, [FIRST_CHOICE, "1.2.840.10008.1.2"]
    )
    requestor.add_requested_context("1.2.3.4.5", [FIRST_CHOICE, "1.2.840.10008.1.2"])
    found = requestor.associate("127.0.0.1", acceptor.port)
    assert found.is_established
    yield found
    found.release()
    acceptor.stop()


def test_what_the_listener_says_of_itself(association: Association) -> None:
    said = _section("3.2 Association policy")
    assert f"{association.acceptor.maximum_length} bytes" in said
    assert f"| {association.acceptor.implementation_class_uid} (" in said
    assert f"| {association.acceptor.implementation_version_name} |" in said
    assert f"by default {Settings().dicom.max_associations}" in said


def test_storage_is_accepted_in_the_first_syntax_and_other_services_are_not(
    association: Association,
) -> None:
    accepted = {context.abstract_syntax: context.transfer_syntax for context in association.accepted_contexts}
    assert accepted[DigitalXRayImageStorageForPresentation] == accepted["1.2.3.4.5"] == [FIRST_CHOICE]
    assert Verification in accepted
    assert {(context.abstract_syntax, context.result) for context in association.rejected_contexts} == {
        (StudyRootQueryRetrieveInformationModelFind, 3),
        (StorageCommitmentPushModel, 3),
    }


def test_the_limit_of_associations_is_answered_as_the_page_says(association: Association) -> None:
    requestor = AE()
    requestor.add_requested_context(Verification)
    one_more = requestor.associate(*association.acceptor.address_info.as_tuple)
    answer = one_more.acceptor.primitive
    assert one_more.is_rejected
    found = [str(answer.result), str(answer.result_source), str(answer.diagnostic)]
    assert [cell.split(" ")[0] for cell in _rows("3.2 Association policy")[-1][:3]] == found


def test_the_reasons_of_rejections_are_those_of_the_policy() -> None:
    rows = [row for row in _rows("3.2 Association policy") if row[0].startswith("1 permanent")]
    assert {int(row[2].split(" ")[0]) for row in rows} == set(policy.Diagnostic)


def test_the_statuses_returned_are_those_of_the_intake() -> None:
    returned = {
        intake.SUCCESS,
        intake.OUT_OF_RESOURCES,
        services.Refusing().finish(),
        intake.PROCESSING_FAILURE,
        intake.INVALID_INSTANCE,
    }
    assert {int(row[0], 16) for row in _rows("3.3 C-STORE") if row[0].startswith("0x")} == returned


def test_every_status_received_is_taken_as_the_page_says() -> None:
    said = [row for row in _rows("4.3 What is done with each status") if len(row) == 3][1:]
    ranges = [
        f"0x{low:04X}" if low == high else f"0x{low:04X}-0x{high:04X}" for low, high, _, _ in statuses.TABLE
    ]
    ranges[-1] = "any other"
    assert [tuple(row) for row in said] == [
        (name, TAKEN_AS[row[2]], row[3]) for name, row in zip(ranges, statuses.TABLE, strict=True)
    ]


def test_every_fault_is_taken_as_the_page_says() -> None:
    said = [tuple(row) for row in _rows("4.4 What is done where there is no answer")[1:]]
    assert said == [
        (fault.value, meaning, "no" if hands else "yes") for fault, meaning, hands in faults.TABLE
    ]
    assert {row[0] for row in faults.TABLE} == set(faults.Fault)


def test_the_requestors_identity_and_its_second_choice_of_syntax() -> None:
    assert f"| {IMPLEMENTATION_CLASS_UID} |" in _section("4.2 Association policy")
    offered = re.findall(
        r"1\.2\.840\.10008\.1\.2[\d.]*\d|1\.2\.840\.10008\.1\.2\b",
        _section("4.1 Proposed presentation contexts"),
    )
    assert tuple(offered) == UNCOMPRESSED


def test_every_code_is_named_and_no_other() -> None:
    values: list[object] = []
    for value in vars(concepts).values():
        values += value.values() if isinstance(value, dict) else [value]
    ours = {(code.value, code.scheme, code.meaning) for code in values if isinstance(code, Code)}
    assert {tuple(row) for row in _rows("6.5 Codes")[1:]} == ours


def test_the_syntaxes_that_are_scored_are_those_with_a_decoder() -> None:
    codecs.register()
    assert get_decoder(RLELossless).is_available
    decoded = set()
    for uid in AllTransferSyntaxes:
        try:
            decoder = get_decoder(uid)
        except NotImplementedError:
            continue
        if decoder.is_available:
            decoded.add(str(uid))
    named = {row[1] for row in _rows("7.1 Images that are scored")[1:]}
    assert {UID(uid).name for uid in named} == {UID(uid).name for uid in decoded}


def test_labels_and_metadata_are_those_of_the_adapter() -> None:
    said = _section("7.3 Orthanc")
    written = set(mirror.LABELS) | {labels.READ, *labels._CONFIRMED}
    written |= {f"{label}-FINDING" for label in labels._CONFIRMED}
    assert set(re.findall(r"`(al-[\w-]+)`", said)) == written | {client.READ_BY}
    assert f"metadata {client.READ_BY_INDEX}" in said


def test_the_private_creator_is_the_spools() -> None:
    assert part10.PRIVATE_INFORMATION_CREATOR_UID in _section("12 Private attributes")
