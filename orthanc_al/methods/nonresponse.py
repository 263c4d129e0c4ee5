"""What audits that nobody read can hide, at worst (Manski, American Economic Review 80:319, 1990)."""


def worst_miss_rate(*, missed: int, positives: int, unread_low: int) -> float:
    """Return the largest miss rate that the unread audits allow: as if all that rank low had the finding.

    Unread ones of other tiers only make it smaller, had they the finding, so the worst is that they have not.

    Parameters
    ----------
    missed
        Audits with the finding that rank low.
    positives
        Audits with the finding, the missed ones among them.
    unread_low
        Unread audits that rank low.

    Returns
    -------
    float
        0 where there is neither a positive nor an unread one.

    Raises
    ------
    ValueError
        A count is negative, or more were missed than there are positives.
    """
    if not (0 <= missed <= positives and unread_low >= 0):
        raise ValueError(f"{missed} missed of {positives} positives, {unread_low} unread")
    most = positives + unread_low
    return (missed + unread_low) / most if most else 0.0
