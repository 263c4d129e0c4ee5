"""Which tier a prediction belongs to, and why, in words."""

from orthanc_al.domain import Tier


def tier_of(
    finding: str, probability: float, ood: float, low: float | None, high: float | None
) -> tuple[Tier, str]:
    """Return tier and reason.

    Parameters
    ----------
    finding
        Its short name.
    probability
        Calibrated, in [0, 1].
    ood
        Distance over the domain's limit: above 1 the probability is not to be believed either way.
    low, high
        Below ``low``: low; above ``high``: high; between: review. None where the labels support no
        such border: without ``low`` nothing is ever ranked low (promise 5).

    Returns
    -------
    tuple[Tier, str]
        The reason for the worklist, e.g. ``pneumonia 0.93, above the high threshold 0.71``.
    """
    said = f"{finding} {probability:.2f}"
    if not ood <= 1.0:
        return (
            Tier.REVIEW,
            f"outside of the model's domain ({ood:.1f} times the limit): {said} is not reliable",
        )
    if high is not None and probability > high:
        return Tier.HIGH, f"{said}, above the high threshold {high:.2f}"
    if low is not None and probability < low:
        return Tier.LOW, f"{said}, below the low threshold {low:.2f}"
    if low is not None and high is not None:
        return Tier.REVIEW, f"{said}, between the thresholds {low:.2f} and {high:.2f}"
    if high is not None:
        return Tier.REVIEW, f"{said}, not above the high threshold {high:.2f}"
    missing = "thresholds" if low is None else "a high threshold"
    return Tier.REVIEW, f"{said}; too few audit labels for {missing}"
