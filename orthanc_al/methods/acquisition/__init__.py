"""Which studies are worth a radiologist's answer: small modules behind one protocol.

The service asks by :class:`PowerMargin` as a stream, by :class:`DiversePowerMargin` at the day's end, by
:class:`TopRisk` while positives are few, and by :class:`Random` where the head is not to be trusted. The
others are kept to be compared with (docs/learning-figures.md).
"""

from orthanc_al.methods.acquisition.badge import Badge
from orthanc_al.methods.acquisition.bald import Bald
from orthanc_al.methods.acquisition.cluster_margin import ClusterMargin
from orthanc_al.methods.acquisition.diverse_power_margin import DiversePowerMargin
from orthanc_al.methods.acquisition.k_center import KCenter
from orthanc_al.methods.acquisition.margin import Margin
from orthanc_al.methods.acquisition.power_margin import PowerMargin
from orthanc_al.methods.acquisition.protocol import Pool, Scoring, Strategy, best, gumbel, threshold_for
from orthanc_al.methods.acquisition.random import Random
from orthanc_al.methods.acquisition.stratified import StratifiedProbability, StratifiedQuantiles
from orthanc_al.methods.acquisition.top_risk import TopRisk
from orthanc_al.methods.acquisition.typicality import Typicality

__all__ = [
    "Badge",
    "Bald",
    "ClusterMargin",
    "DiversePowerMargin",
    "KCenter",
    "Margin",
    "Pool",
    "PowerMargin",
    "Random",
    "Scoring",
    "Strategy",
    "StratifiedProbability",
    "StratifiedQuantiles",
    "TopRisk",
    "Typicality",
    "best",
    "gumbel",
    "threshold_for",
]
