"""A named border: what decoders and damaged attributes raise becomes one error of ours."""

from collections.abc import Iterator
from typing import TypeVar

from orthanc_al.errors import UndecodableError

Made = TypeVar("Made")


def guarded(frames: Iterator[Made]) -> Iterator[Made]:
    """Yield what comes; whatever is raised on the way becomes an `UndecodableError` without patient data."""
    try:
        yield from frames
    except UndecodableError:
        raise
    except Exception as error:  # the named border: decoders raise what they like
        text = str(error).strip().splitlines()[-1:] or [""]
        raise UndecodableError(
            f"the pixels can't be decoded ({type(error).__name__}: {text[0].strip()[:160]})"
        ) from error
