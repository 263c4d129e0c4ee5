"""Every error that orthanc_al raises on purpose.

::

    OrthancAlError
    ├── ConfigurationError        the configuration can't be used as it is (exit status 2)
    ├── StorageError              the spool
    │   ├── DiskFullError         less than storage.min_free_gb is left                      (retry)
    │   └── SpoolFileError        a spool file is missing or is not what it was
    ├── LedgerError               the ledger is absent, older or newer than this program
    │   └── LeaseLostError        another worker has taken the job over
    ├── InstanceError             what arrived can't be used (it is forwarded all the same)
    │   ├── NotAnInstanceError    not a DICOM data set, or one without the UIDs it needs
    │   └── UndecodableError      no pixels can be had from it
    ├── PeerError                 a DICOM peer
    │   ├── PeerUnreachableError  no association                                              (retry)
    │   └── PeerRefusedError      a final answer: it does not take this object
    ├── OrthancError              Orthanc's REST API answers with an error or not at all      (retry)
    ├── DeviceLostError           the GPU fails until the process starts anew                (retry)
    ├── ModelError                a model package
    │   ├── LearningBusyError     another process is learning for this model                  (retry)
    │   ├── PackageRefusedError   manifest or digest do not hold
    │   ├── ProviderError         the execution provider that was asked for is not there
    │   └── InferenceError        a network can't be run now, here or on its server                (retry)
    │       └── NoMemoryError     the batch does not fit into memory                      (retry)
    └── ReadError                 a confirmed read can't be used
        └── StudyChangedError     images came while it was being read

Each says what happened, to which study or object (by UID, never by patient) and what to do.
``retryable`` tells the work queue whether trying again later can help, ``passes`` whether it is the machine's
trouble and not the job's: then no number of tries is too many.
"""

from typing import ClassVar


class OrthancAlError(Exception):
    """Base of all errors raised on purpose; its text can be shown to a user as it is."""

    retryable: ClassVar[bool] = False
    passes: ClassVar[bool] = False  # tried again for as long as it takes, not a number of times
    exit_status: ClassVar[int] = 1


class ConfigurationError(OrthancAlError):
    """The configuration can't be used; the text names every fault with its key."""

    exit_status = 2


class StorageError(OrthancAlError):
    """The spool can't do what was asked."""


class DiskFullError(StorageError):
    """Less space is left than ``storage.min_free_gb``; the sender is told 0xA700."""

    retryable = True
    passes = True


class SpoolFileError(StorageError):
    """A spool file is missing, or is not a file that the spool wrote."""


class LedgerError(OrthancAlError):
    """The ledger is absent, or its schema is not this program's."""


class LeaseLostError(LedgerError):
    """The job's lease ran out and another worker has it: this result is dropped."""


class InstanceError(OrthancAlError):
    """What arrived can't be used for scoring; it is forwarded all the same."""


class NotAnInstanceError(InstanceError):
    """Not a DICOM data set, or one without the UIDs that PS3.3 C.12.1 requires."""


class UndecodableError(InstanceError):
    """No pixels can be had: no pixel data, too few bytes, or no decoder for its syntax."""


class PeerError(OrthancAlError):
    """A DICOM peer did not do what was asked."""


class PeerUnreachableError(PeerError):
    """There is no association, or it ended on the way.

    Parameters
    ----------
    text
        For the user.
    fault
        Which of `orthanc_al.dicom.faults.Fault` it is.
    """

    retryable = True

    def __init__(self, text: str, fault: str = "no_connection") -> None:
        super().__init__(text)
        self.fault = fault


class PeerRefusedError(PeerError):
    """The peer's answer is final: it does not take this object."""


class OrthancError(OrthancAlError):
    """Orthanc's REST API is away, or answers with an error.

    Parameters
    ----------
    text
        What is told.
    status
        Of its answer (RFC 9110 15), None where there was none.
    """

    retryable = True

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status

    @property
    def is_about_one_thing(self) -> bool:
        """Whether it answers, and does not have or can't give the thing that was asked for."""
        return self.status is not None and self.status not in (401, 403, 429, 502, 503, 504)


class DeviceLostError(OrthancAlError):
    """The GPU fails whatever it is asked for, and does so until the process starts anew.

    It is no `ModelError`: neither a package nor a study is at fault, and where a package's fault is borne
    this must not be. The process that meets it ends.
    """

    retryable = True
    passes = True


class ModelError(OrthancAlError):
    """A model package can't be used."""


class LearningBusyError(ModelError):
    """Another process is learning for this model; its work is not done twice at once."""

    retryable = True


class PackageRefusedError(ModelError):
    """The manifest or the digest of a model package does not hold."""


class ProviderError(ModelError):
    """The execution provider that ``inference.require_gpu`` asks for is not there."""


class InferenceError(ModelError):
    """A network can't be run now; another try may find its server, or its memory, there again."""

    retryable = True


class NoMemoryError(InferenceError):
    """The batch does not fit into the memory of the processor or of the GPU."""


class ReadError(OrthancAlError):
    """A confirmed read can't be used as it stands."""


class StudyChangedError(ReadError):
    """The study is not what the reader had before her: it is to be looked at again."""
