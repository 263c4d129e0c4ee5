"""Borders between the tiers, as a manifest has them: of all studies, and group by group."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orthanc_al.domain.grouping import Grouping

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Table(BaseModel):
    """A TOML table: frozen, and an unknown key is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _in_order(low: float | None, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise ValueError(f"low ({low}) is above high ({high}): a study would be both")


class GroupThresholds(Table):
    """Borders of one group of studies, from the audit labels of that group alone.

    Attributes
    ----------
    positives, negatives
        How many labels of each class are behind ``low`` and ``high``.
    """

    name: str
    high: Probability | None = None
    low: Probability | None = None
    positives: Annotated[int, Field(ge=0)]
    negatives: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _in_order(self.low, self.high)
        return self


class Groups(Table):
    """Borders group by group (Mondrian: Vovk, Gammerman & Shafer 2005), and which attribute makes them.

    A group that is not among ``borders`` has no audit label: nothing of it is ranked low.
    """

    by: Grouping
    borders: tuple[GroupThresholds, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [group.name for group in self.borders]
        if self.by is Grouping.NONE or len(set(names)) != len(names):
            raise ValueError(
                f"groups are made by an attribute and named once each, not by {self.by!r}: {names}"
            )
        return self

    def get(self, name: str) -> GroupThresholds | None:
        """Return the borders of a group, None where it has none."""
        return next((group for group in self.borders if group.name == name), None)


class Thresholds(Table):
    """Borders between tiers, as calibrated probabilities of a study.

    Attributes
    ----------
    operating
        Where sensitivity and specificity are stated.
    high
        Above: tier high. None where the labels do not support one.
    low
        Below: tier low. None where the labels do not support one.
    groups
        The same group by group, where the site asks for the guarantee in each of them.
    """

    operating: Probability
    high: Probability | None = None
    low: Probability | None = None
    groups: Groups | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _in_order(self.low, self.high)
        return self

    @property
    def has_low(self) -> bool:
        """Whether anything could be ranked low by these."""
        grouped = self.groups.borders if self.groups is not None else ()
        return self.low is not None or any(group.low is not None for group in grouped)

    def borders(self, by: Grouping, group: str) -> tuple[float | None, float | None]:
        """Return (low, high) for a study of a group.

        Where the site asks for a guarantee in each group, a group that has no border of its own, or a
        package that was made without groups, gives no low tier. The high border of such a group is that of
        all studies.
        """
        if by is Grouping.NONE:
            return self.low, self.high
        own = self.groups.get(group) if self.groups is not None and self.groups.by is by else None
        if own is None:
            return None, self.high
        return own.low, own.high if own.high is not None else self.high
