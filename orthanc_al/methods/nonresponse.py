"""What audits that nobody read can hide, at worst (Manski, American Economic Review 80:319, 1990)."""


def worst_miss_rate(*, missed: int, positives: int, unread: int) -> float:
    """Return the largest miss rate that unread audits allow: as if all had the finding and ranked low.

    Which of them do rank low is not asked: a figure that told it would lift the curtain before them.

    Parameters
    ----------
    missed
        Audits with the finding that rank low.
    positives
        Audits with the finding, the missed ones among them.
    unread
        Audits that nobody read, of all tiers.

    Returns
    -------
    float
        0 where there is neither a positive nor an unread one.

    Raises
    ------
    ValueError
        A count is negative, or more were missed than there are positives.
    """
    if not (0 <= missed <= positives and unread >= 0):
        raise ValueError(f"{missed} missed of {positives} positives, {unread} unread")
    most = positives + unread
    return (missed + unread) / most if most else 0.0
