"""A coded concept, as DICOM writes it (PS3.3 section 8.8, Code Sequence Macro)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """Code Value, Coding Scheme Designator and Code Meaning.

    Two codes are the same concept when value and scheme are equal; the meaning is for people.
    """

    value: str
    scheme: str
    meaning: str

    @property
    def key(self) -> tuple[str, str]:
        """Value and scheme: what makes two codes the same concept."""
        return (self.value, self.scheme)
