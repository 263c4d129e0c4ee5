"""Groups of studies that a guarantee may be asked for one by one: by scanner, age, and the like."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

_YEAR: Final = 365.25 * 86400.0
_AGES: Final = ((18.0, "under 18"), (40.0, "18 to 39"), (65.0, "40 to 64"), (200.0, "65 and over"))


class Grouping(StrEnum):
    """An attribute that makes groups; ``none`` makes one of all studies."""

    NONE = ""
    STATION = "station"
    AGE = "age"
    SEX = "sex"
    MODALITY = "modality"
    BODY_PART = "body_part"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What of a study makes groups.

    Attributes
    ----------
    birth_date
        As DICOM writes it (YYYYMMDD), empty where it is not known.
    arrived_at
        Seconds since 1970, UTC.
    """

    station: str = ""
    sex: str = ""
    birth_date: str = ""
    modality: str = ""
    body_part: str = ""
    arrived_at: float = 0.0


def age_group(birth_date: str, arrived_at: float) -> str:
    """Return the group of a patient's age when the study arrived, empty where it is not known."""
    try:
        born = datetime.strptime(birth_date, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return ""
    years = (arrived_at - born.timestamp()) / _YEAR
    return next((name for limit, name in _AGES if 0.0 <= years < limit), "")


_GROUP_OF: Final[Mapping[Grouping, Callable[[Attributes], str]]] = {
    Grouping.NONE: lambda _: "",
    Grouping.STATION: lambda study: study.station,
    Grouping.AGE: lambda study: age_group(study.birth_date, study.arrived_at),
    Grouping.SEX: lambda study: study.sex,
    Grouping.MODALITY: lambda study: study.modality,
    Grouping.BODY_PART: lambda study: study.body_part,
}


def group_of(by: Grouping, study: Attributes) -> str:
    """Return the group of a study; those whose attribute is not known are a group of their own, ``""``."""
    return _GROUP_OF[by](study)
