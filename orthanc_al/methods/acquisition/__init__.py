"""Which studies are worth a radiologist's answer: small modules behind one protocol."""

from orthanc_al.methods.acquisition.power_margin import PowerMargin
from orthanc_al.methods.acquisition.protocol import Strategy, gumbel, threshold_for
from orthanc_al.methods.acquisition.random import Random
from orthanc_al.methods.acquisition.top_risk import TopRisk

__all__ = ["PowerMargin", "Random", "Strategy", "TopRisk", "gumbel", "threshold_for"]
