"""The reading queue, simulated: minutes saved for those with a finding, and lost for whom."""

from orthanc_al.simulate.answer import Answer, Estimate, Line, answer
from orthanc_al.simulate.queue import delays
from orthanc_al.simulate.room import Population, Rule, Traffic, by_operating_points, poisson

__all__ = [
    "Answer",
    "Estimate",
    "Line",
    "Population",
    "Rule",
    "Traffic",
    "answer",
    "by_operating_points",
    "delays",
    "poisson",
]
