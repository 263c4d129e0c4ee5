"""What the API of reading takes and answers: who reads, what she says, and what came of it."""

from pydantic import BaseModel, ConfigDict, Field

from orthanc_al.domain import ReadValue
from orthanc_al.web.schemas import WorklistEntry


class MeModel(BaseModel):
    """Who reads, as far as is known here."""

    reader: str = Field(description="Value representation PN; empty where nobody is known.")
    identified_by: str = Field(description="user, asked, program, or empty.")
    may_confirm: bool
    may_name_reader: bool = Field(description="Whether `reader` of a request is taken.")
    findings: list[str] = Field(description="What a read may be about.")


class NameIn(BaseModel):
    """A reader says who she is."""

    model_config = ConfigDict(extra="forbid")
    reader: str = Field(max_length=128, description='"Brandt, Karin", "Karin Brandt" or "Brandt^Karin".')


class ReadIn(BaseModel):
    """What a reader says of a finding."""

    model_config = ConfigDict(extra="forbid")
    value: ReadValue
    revision: int = Field(description="Of the study, as it was when it was opened.")
    finding: str = Field(default="", description="May be left out where the models look for one finding.")
    comment: str = Field(default="", max_length=1000)
    reader: str = Field(default="", max_length=128, description="By programs, for whom they speak.")
    settles: list[str] = Field(default=[], max_length=50, description="References of reads decided between.")
    modality: str = Field(default="", description="Of the next study; empty: any.")


class DoneIn(BaseModel):
    """A study is done with, without a word on a finding."""

    model_config = ConfigDict(extra="forbid")
    revision: int
    reader: str = Field(default="", max_length=128)
    modality: str = ""


class ReopenIn(BaseModel):
    """A study goes back on the list."""

    model_config = ConfigDict(extra="forbid")
    reader: str = Field(default="", max_length=128)


class NextModel(BaseModel):
    """The study to be read next, with links that open it."""

    study: WorklistEntry
    links: dict[str, str]


class TakenModel(BaseModel):
    """What came of a read."""

    study_instance_uid: str
    finding: str
    value: ReadValue
    reader: str
    identified_by: str
    reference: str = Field(description="SOP Instance UID of the verified report that is on its way.")
    state: str = Field(description="counts, or conflict where another reader says otherwise.")
    new: bool = Field(description="False where the same reader had said the same before.")
    next: NextModel | None


class ClosedModel(BaseModel):
    """Whether a study went off the worklist, or came back on it."""

    study_instance_uid: str
    changed: bool
    next: NextModel | None
