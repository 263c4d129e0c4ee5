"""``MODEL_CARD.md``, written from the figures in the manifest (Mitchell et al., Model cards, FAT* 2019)."""

from orthanc_al.inference.manifest import FindingEntry, Manifest, Metric
from orthanc_al.learn.factory.dataset import SHARES, Part
from orthanc_al.learn.factory.figures import (
    ASSUMED_PREVALENCE,
    DELTA,
    FALSE_ALARM_RATE,
    OPERATING_SENSITIVITY,
)

_CARD = """\
# {name} {version}

**Research use only. Not a medical device; no clinical claim is made.**

A small residual network that says how much a frontal chest radiograph of a child looks like pneumonia. It
ships with orthanc_al so that the whole way of a study can be seen at work, and as the starting point that a
site's own reads then improve.

## Limits
- Children of 1 to 5 years, frontal (AP) films, one hospital. Other ages, views and hospitals were not
  measured. Adults are outside of its domain, whatever it says of them.
- The films come from the source squashed to squares of 224 pixels, as JPEG. Labels are those of the
  source; some are wrong.
- The intervals below are over patients of the same hospital, so they say nothing of other hospitals.
- Probabilities are made for an assumed prevalence of {prevalence:.0%} and are the factory's: a site's audit
  has to calibrate them. The package supports no low tier; the site's audit has to earn it.
- Images that are no upright frontal chest film are to be marked as out of the domain. Those kinds of
  them that are listed below as junk were shown in training as such.

## Data
{films} films, exact duplicates dropped, split by patient: {calibrate:.0%} of the patients calibrate,
{judge:.0%} judge, the rest trains. SHA-256 of pixels, labels and patients: `{training_data}`.

Kermany, Zhang, Goldbaum: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for
Classification, Mendeley Data, doi 10.17632/rscbjbr9sj; Kermany et al., Cell 172:1122 (2018), doi
10.1016/j.cell.2018.02.010. Licence: CC BY 4.0. Changed: resized, made grey, augmented.

## Output
| finding | code | operating threshold | high tier above | calibrator |
|---|---|---|---|---|
{findings}

Thresholds are calibrated probabilities of a study, which are those of its highest image. The operating
threshold has a sensitivity of {sensitivity:.0%} on the films that calibrate. The high tier holds at most
{alarm:.0%} of the negatives, with probability {sure:.0%}.

## Figures
On patients that neither trained nor calibrated; 95 % intervals by bootstrap over patients. The scanner
looks are synthetic: S2 is hard, noisy and cropped, S4 over-exposed until much of the film is clipped.

| figure | on | value | 95 % interval | images |
|---|---|---|---|---|
{metrics}

## Input
`{preprocessing}` version {preprocessing_version}, {size} x {size} grey pixels: see
`orthanc_al/imaging/preprocess.py`, which training and scoring share.

## How to make it again
    orthanc-al train-factory --data FOLDER --out FOLDER --seed {seed}

needs the extra `[finetune]`; FOLDER has `manifest.csv` and the films. `python -m tests.bench.factory` prints
the figures of the package as it is, on the same held-out patients.
"""


def model_card(manifest: Manifest, films: int, *, recipe_seed: int) -> str:
    """Return the card's text.

    Parameters
    ----------
    manifest
        Of the package, with its figures.
    films
        Number of films of all parts.
    recipe_seed
        What the training was seeded with.
    """
    return _CARD.format(
        name=manifest.name,
        version=manifest.version,
        films=films,
        calibrate=SHARES[Part.CALIBRATE],
        judge=SHARES[Part.JUDGE],
        training_data=manifest.training_data,
        prevalence=ASSUMED_PREVALENCE,
        sensitivity=OPERATING_SENSITIVITY,
        alarm=FALSE_ALARM_RATE,
        sure=1.0 - DELTA,
        findings="\n".join(_finding_row(entry) for entry in manifest.findings),
        metrics="\n".join(_metric_row(metric) for metric in manifest.metrics),
        preprocessing=manifest.preprocessing.name,
        preprocessing_version=manifest.preprocessing.version,
        size=manifest.preprocessing.size,
        seed=recipe_seed,
    )


def _finding_row(entry: FindingEntry) -> str:
    high = "none" if entry.thresholds.high is None else f"{entry.thresholds.high:.3f}"
    calibrator = f"sigma({entry.calibrator.slope:.3f} x {entry.calibrator.offset:+.3f})"
    code = f"{entry.code_value} {entry.code_scheme}"
    return f"| {entry.name} | {code} | {entry.thresholds.operating:.3f} | {high} | {calibrator} |"


def _metric_row(metric: Metric) -> str:
    interval = f"{metric.low:.3f} to {metric.high:.3f}"
    return f"| {metric.name} | {metric.on} | {metric.value:.3f} | {interval} | {metric.n} |"
