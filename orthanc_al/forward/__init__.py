"""Passing instances on: every one to every destination, as it came, for as long as it takes."""

from orthanc_al.forward.breaker import Trouble
from orthanc_al.forward.cleaning import clean
from orthanc_al.forward.commitment import Commitments
from orthanc_al.forward.forwarder import Forwarder
from orthanc_al.forward.learning import Syntaxes

__all__ = ["Commitments", "Forwarder", "Syntaxes", "Trouble", "clean"]
