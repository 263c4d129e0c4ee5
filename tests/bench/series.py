"""A measure's figures, by contestant; the first contestant is ours."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

Step = Callable[[], object]
"""Called once a round, for the progress bar."""


@dataclass
class Series:
    """Figures of one measure in rounds, by contestant."""

    measure: str
    unit: str
    higher_is_better: bool = True
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, who: str, value: float) -> None:
        """Add a round's figure."""
        self.rounds.setdefault(who, []).append(value)

    def ratio(self, who: str) -> float:
        """Return how many times better the first contestant is than ``who`` (medians)."""
        mine, theirs = median(next(iter(self.rounds.values()))), median(self.rounds[who])
        return mine / theirs if self.higher_is_better else theirs / mine
