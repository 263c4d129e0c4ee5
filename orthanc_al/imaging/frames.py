"""Which attributes count for a frame: enhanced objects keep them in functional groups (PS3.3 C.7.6.16)."""

from typing import Final

from pydicom import Dataset

# Macro sequence -> the attributes in it that a frame's grey levels and its place depend on.
_MACROS: Final = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
}
_ATTRIBUTES: Final = (
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelAspectRatio",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)


def frame_attributes(dataset: Dataset, index: int) -> Dataset:
    """Return what counts for frame ``index`` (from 0): its own group, else the shared one, else the top."""
    found = Dataset()
    for keyword in _ATTRIBUTES:
        if keyword in dataset:
            found[keyword] = dataset[keyword]
    for group in (_item(dataset, "SharedFunctionalGroupsSequence", 0), _own_group(dataset, index)):
        if group is None:
            continue
        for macro, keywords in _MACROS.items():
            item = _item(group, macro, 0) or Dataset()
            for keyword in keywords:
                if keyword in item:
                    found[keyword] = item[keyword]
    return found


def _own_group(dataset: Dataset, index: int) -> Dataset | None:
    return _item(dataset, "PerFrameFunctionalGroupsSequence", index)


def _item(dataset: Dataset, keyword: str, index: int) -> Dataset | None:
    sequence = dataset.get(keyword)
    if not sequence or index >= len(sequence):
        return None
    item: Dataset = sequence[index]
    return item
