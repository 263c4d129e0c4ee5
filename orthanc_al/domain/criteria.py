"""Which images a model is for, and in words why it is not for one. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traits:
    """What an image's header says of what it shows.

    Attributes
    ----------
    modality, body_part, view, station
        In capitals; empty where the header does not say.
    procedures
        Code values of what was requested and done.
    age
        Of the patient when it was taken, in years; None where it can't be known.
    """

    modality: str
    body_part: str = ""
    view: str = ""
    procedures: tuple[str, ...] = ()
    station: str = ""
    age: float | None = None


@dataclass(frozen=True, slots=True)
class Criteria:
    """What an image has to be; empty means any.

    An image that names no body part or no view is taken: many devices never name one, and what is no
    chest, say, lies outside of the model's domain, which triage sees. Procedure, station and age are asked
    for because the rest is not meant: an image that does not name them is not taken.

    Attributes
    ----------
    modality, body_part, view, station
        In capitals.
    procedure
        Code values, e.g. of LOINC or of the site.
    age
        Least and most, in years.
    images
        Least and most, of a study's images.
    """

    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    procedure: tuple[str, ...] = ()
    station: tuple[str, ...] = ()
    age: tuple[float, ...] = ()
    images: tuple[int, ...] = ()

    @property
    def modality_alone(self) -> bool:
        """Whether nothing but the modality is asked of an image."""
        return not (self.body_part or self.view or self.procedure or self.station or self.age)

    def against(self, traits: Traits) -> str | None:
        """Return what speaks against an image, None where nothing does; fits behind "is for"."""
        if self.modality and traits.modality not in self.modality:
            return f"modality {traits.modality or 'unknown'}"
        for wanted, found, words in (
            (self.body_part, traits.body_part, f"{traits.modality} of {traits.body_part}"),
            (self.view, traits.view, f"{traits.modality} in the view {traits.view}"),
        ):
            if wanted and found and found not in wanted:
                return words
        return self._against_what_is_asked_for(traits)

    def _against_what_is_asked_for(self, traits: Traits) -> str | None:
        if self.procedure and not set(self.procedure) & set(traits.procedures):
            codes = ", ".join(traits.procedures)
            return f"the procedure {codes}" if codes else "an image that names no procedure"
        if self.station and traits.station not in self.station:
            return f"the station {traits.station}" if traits.station else "an image that names no station"
        if self.age and traits.age is None:
            return "a patient of unknown age"
        if self.age and traits.age is not None and not self.age[0] <= traits.age <= self.age[1]:
            return f"a patient of {traits.age:.0f} years"
        return None

    def against_study(self, images: int) -> str | None:
        """Return what speaks against a study of so many images."""
        if self.images and not self.images[0] <= images <= self.images[1]:
            return f"a study of {images} image(s)"
        return None
