"""How long to wait after failures. Pure."""

from typing import Final

BASE_SECONDS: Final = 1.0
CAP_SECONDS: Final = 300.0


def delay(failures: int, draw: float) -> float:
    """Return the seconds to wait after ``failures`` in a row: doubling, capped, and spread.

    Half of it is fixed and half is drawn, so that many senders that failed together do not come back
    together ("equal jitter": Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015).

    Parameters
    ----------
    failures
        At least 1.
    draw
        Uniform in [0, 1).
    """
    whole = min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(failures - 1, 30))
    return whole * (0.5 + 0.5 * draw)
