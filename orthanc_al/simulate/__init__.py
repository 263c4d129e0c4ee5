"""The reading queue, simulated: minutes saved for those with a finding, and lost for whom."""

from orthanc_al.simulate.answer import Answer, Estimate, answer
from orthanc_al.simulate.queue import delays
from orthanc_al.simulate.room import Rule, Traffic

__all__ = ["Answer", "Estimate", "Rule", "Traffic", "answer", "delays"]
