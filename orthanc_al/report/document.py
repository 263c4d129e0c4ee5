"""A Comprehensive 3D SR document (PS3.3 A.35.13) around a content tree."""

from collections.abc import Sequence
from typing import Any

from highdicom import ContributingEquipment
from highdicom.sr import Comprehensive3DSR, MeasurementReport
from pydicom import Dataset

from orthanc_al.report.result import Sources


class _Document(Comprehensive3DSR):
    """One that names no equipment of the source image: our evidence does not say what that was.

    highdicom finds that out after a walk through the standard's tables for whether the source has pixels.
    """

    def _add_contributing_equipment(
        self,
        contributing_equipment: Sequence[ContributingEquipment] | None = None,
        source_image: Dataset | None = None,
    ) -> None:
        del source_image
        super()._add_contributing_equipment(contributing_equipment)


def comprehensive_3d_sr(content: MeasurementReport, sources: Sources, **told: Any) -> Comprehensive3DSR:
    """Return what highdicom makes of the same arguments, without the copies of the tree that it keeps.

    The document is made around the root alone and gets what is below it afterwards. With the whole tree
    highdicom copies it item by item, parses the copy and searches it for images that are no evidence, which
    is more than half of the time that a report takes. There are none: what our trees refer to is looked up
    in ``sources``. Its property ``content`` has the root alone.

    Parameters
    ----------
    content
        The tree (TID 1500); it is the document's afterwards.
    sources
        Patient and study are those of the first image.
    told
        What else `highdicom.sr.Comprehensive3DSR` takes.
    """
    [root] = content
    items = root.ContentSequence
    root.ContentSequence = []
    document = _Document(evidence=list(sources.images), content=root, **told)
    document.ContentSequence = items
    return document
