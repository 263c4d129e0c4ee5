"""What we say on the wire: associations, C-STORE and C-ECHO, transfer syntaxes, statuses."""

from orthanc_al.dicom.association import Association, Context, Proposal
from orthanc_al.dicom.peer import Peer, echo
from orthanc_al.dicom.statuses import Verdict, describe, verdict

__all__ = ["Association", "Context", "Peer", "Proposal", "Verdict", "describe", "echo", "verdict"]
