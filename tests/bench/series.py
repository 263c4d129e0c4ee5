"""A measure's figures, by contestant; the first contestant is ours."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

Step = Callable[[], object]
"""Called once a round, for the progress bar."""

_T = TypeVar("_T")


@dataclass
class Series:
    """Figures of one measure in rounds, by contestant; ``remark`` is printed under the table."""

    measure: str
    unit: str
    higher_is_better: bool = True
    rounds: dict[str, list[float]] = field(default_factory=dict)
    remark: str = ""

    def add(self, who: str, value: float) -> None:
        """Add a round's figure."""
        self.rounds.setdefault(who, []).append(value)

    def led_by(self, who: str) -> Self:
        """Put a contestant first, and return the series."""
        self.rounds = {who: self.rounds.pop(who), **self.rounds}
        return self

    def ratios(self, who: str) -> list[float]:
        """Return how many times better the first contestant is than ``who``, round by round."""
        ours = next(iter(self.rounds.values()))
        pairs = zip(ours, self.rounds[who], strict=True)
        return [mine / theirs if self.higher_is_better else theirs / mine for mine, theirs in pairs]


def rotated(contestants: Mapping[str, _T], number: int) -> Iterable[tuple[str, _T]]:
    """Return the contestants, beginning with another one in each round."""
    order = list(contestants.items())
    first = number % len(order)
    return order[first:] + order[:first]
