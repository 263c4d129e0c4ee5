"""Print how long the head takes to fit beside scikit-learn's: ``python -m tests.bench.head_fit``.

The bar (at most twice scikit-learn's time at 10,000 x 512) is for a fit under one prior, the same
work as scikit-learn's; the average over the whole grid of priors is printed beside it.
"""

import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression

from orthanc_al.methods.head import fit_head
from orthanc_al.methods.laplace import fit_laplace
from tests.bench.series import Series, Step

SKLEARN = "scikit-learn lbfgs"


def _seconds(work: Callable[[], object], repeats: int = 5) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def _works() -> dict[str, Callable[[], object]]:
    """Return the fits of 10,000 made-up embeddings of length 512, scikit-learn's first."""
    rng = np.random.default_rng(0)
    embeddings = np.abs(rng.standard_normal((10_000, 512)))
    truth = rng.standard_normal(512) * 0.2
    logits = (embeddings - embeddings.mean(0)) @ truth
    labels = (rng.random(10_000) < 1 / (1 + np.exp(-logits))).astype(float)
    theirs = LogisticRegression(C=1.0, tol=1e-6, max_iter=1000)
    return {
        SKLEARN: lambda: theirs.fit(embeddings, labels),
        "fit_laplace, one prior": lambda: fit_laplace(embeddings, labels, np.zeros(513), 1.0),
        "fit_head, 15 priors": lambda: fit_head(embeddings, labels, truth),
    }


def measure(rounds: int, step: Step) -> list[Series]:
    """Fit with each in turn."""
    works = _works()
    results = []
    for ours in works:
        if ours != SKLEARN:
            name = f"head fit at 10,000 x 512, {ours}"
            results.append(Series(name, "s", higher_is_better=False, rounds={"orthanc_al": [], SKLEARN: []}))
    for _ in range(rounds):
        seconds = {who: _seconds(work, repeats=1)[0] for who, work in works.items()}
        theirs = seconds.pop(SKLEARN)
        for series, mine in zip(results, seconds.values(), strict=True):
            series.add("orthanc_al", mine)
            series.add(SKLEARN, theirs)
        step()
    return results


def main() -> None:
    """Print times and ratios of five fits each."""
    medians = {}
    for name, work in _works().items():
        times = _seconds(work)
        medians[name] = float(np.median(times))
        ratio = medians[name] / medians[SKLEARN]
        print(f"{name:24} {min(times):7.3f} {medians[name]:7.3f} {max(times):7.3f} s  ratio {ratio:5.2f}")


if __name__ == "__main__":
    main()
