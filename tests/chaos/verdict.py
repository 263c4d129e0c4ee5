"""What came of a fault: a line of the table, and what its part may use."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes
    ----------
    fault
        What was done to the service.
    seen
        What came of it, in figures.
    broken
        What did not hold; empty where all did.
    """

    fault: str
    seen: str
    broken: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the promises held."""
        return "broken: " + "; ".join(self.broken) if self.broken else "held"


@dataclass(frozen=True)
class Plan:
    """What a part of the matrix is told.

    Attributes
    ----------
    folder
        Its own, on a real disk.
    seed
        Of every draw: the same seed draws the same again, though no machine kills at the same instruction.
    short
        Whether it runs within `make test`.
    kills, streams
        How many kill -9 and mutated streams where it is not short.
    """

    folder: Path
    seed: int
    short: bool
    kills: int = 520
    streams: int = 100_000


class Claims:
    """Collects what did not hold."""

    def __init__(self) -> None:
        self._broken: list[str] = []

    @property
    def broken(self) -> tuple[str, ...]:
        """All that did not hold, in words."""
        return tuple(self._broken)

    def holds(self, truth: object, otherwise: str) -> None:
        """Note ``otherwise`` where it is not true."""
        if not truth:
            self._broken.append(otherwise)

    def comes(self, condition: Callable[[], object], seconds: float, otherwise: str) -> float:
        """Wait for a truth; return the seconds that it took, and note ``otherwise`` where it did not come."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                self._broken.append(f"{otherwise} within {seconds:.0f} s")
                break
            time.sleep(0.2)
        return time.monotonic() - began

    @contextmanager
    def whatever_happens(self, what: str) -> Iterator[None]:
        """Note a failed assertion of a helper, e.g. a service that does not start, and go on."""
        try:
            yield
        except AssertionError as error:
            self._broken.append(f"{what}: {str(error)[-600:]}")
