"""The question to the radiologist as a Key Object Selection (PS3.3 A.35.4), TID 2010."""

import warnings

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom import Dataset

from orthanc_al.domain import concepts as c
from orthanc_al.report.result import Identity, Result, Sources
from orthanc_al.report.structured_report import common, concept, dated, device_observer


def key_object_selection(result: Result, sources: Sources, identity: Identity) -> Dataset:
    """Return the KOS "For Physician Review" of the scored images; the same arguments give the same data set.

    It is made only for a study that the radiologist is asked about, never for a blind one.
    """
    findings = ", ".join(dict.fromkeys(said.images[0].finding.code.meaning for said in result.findings))
    with warnings.catch_warnings():  # highdicom and pydicom write names of patients into warnings
        warnings.simplefilter("ignore")
        document = KeyObjectSelectionDocument(
            evidence=list(sources.images),
            content=KeyObjectSelection(
                document_title=concept(c.FOR_PHYSICIAN_REVIEW),
                referenced_objects=list(sources.images),
                observer_device_context=device_observer(result),
                description=f"Please confirm or reject: {findings}",
            ),
            series_description="AI asks for a review",
            **common(result, identity),
        )
    return dated(document)
