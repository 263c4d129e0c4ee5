"""Who reads: the name that reads are signed with, and how it is known.

With users of her own password a reader's name is the configuration's. Else the page asks for it once and
keeps it in a signed cookie; a program may say with each request whom it speaks for.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, HTTPException, Request, Response

from orthanc_al.errors import ReadError
from orthanc_al.web.context import Context, Here

COOKIE: Final = "orthanc_al_reader"
KEPT_SECONDS: Final = 12 * 3600
"""A shift: the next one at the same screen is asked again."""

_LONGEST: Final = 64  # of a component group of value representation PN (PS3.5 6.2)
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f\\=]")
_NOBODY: Final = frozenset({"", "unknown", "unknown^unknown", "anonymous", "nobody", "web"})


@dataclass(frozen=True, slots=True)
class Reader:
    """A person before the page.

    Attributes
    ----------
    name
        Value representation PN; empty where nobody is known.
    identified_by
        ``user``, ``asked``, ``program``, or empty.
    may_speak_for_others
        Whether a request may name the reader itself.
    """

    name: str = ""
    identified_by: str = ""
    may_speak_for_others: bool = False

    def signing(self, named: str = "") -> "Reader":
        """Return who signs a request that names a reader, or names none.

        Raises
        ------
        HTTPException
            403: nobody is known, or another may not be named.
        """
        if named and not self.may_speak_for_others:
            raise HTTPException(403, "You are known by your password: a read can't be signed for another.")
        if named:
            return Reader(person_name_of(named), "program")
        if not self.name:
            raise HTTPException(403, "Say first who reads: on the page /reader, or by POST /api/v1/me.")
        return self


def person_name_of(text: str) -> str:
    """Return a name as people write it in value representation PN (PS3.5 6.2.1): ``Family^Given``.

    "Brandt, Karin", "Karin Brandt" and "Brandt^Karin" are one reader.

    Raises
    ------
    ReadError
        It is nobody's name, too long, or holds what a name can't.
    """
    said = " ".join(text.split())
    if _FORBIDDEN.search(text.strip()):
        raise ReadError("A name holds no backslash, equals sign or control character.")
    if "^" in said:
        name = said
    elif "," in said:
        family, _, given = said.partition(",")
        name = f"{family.strip()}^{given.strip()}"
    else:
        given, _, family = said.rpartition(" ")
        name = f"{family}^{given}"
    name = name.strip().rstrip("^ ")
    if name.casefold() in _NOBODY or not any(letter.isalpha() for letter in name):
        raise ReadError("Give your name, as in Brandt, Karin: reads are signed with it.")
    if len(name) > _LONGEST:
        raise ReadError(f"A name has at most {_LONGEST} characters.")
    return name


def remember(response: Response, here: Context, name: str, *, secure: bool) -> None:
    """Keep the reader's name with her browser until the shift is over."""
    response.set_cookie(
        COOKIE,
        _signed(here, name, int(here.clock())),
        max_age=KEPT_SECONDS,
        httponly=True,
        samesite="lax",
        secure=secure,
        path="/",
    )


def forget(response: Response) -> None:
    """Let the next reader be asked."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")


def _signed(here: Context, name: str, at: int) -> str:
    said = base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")
    return f"{said}.{at}.{_signature(here, said, at)}"


def _signature(here: Context, said: str, at: int) -> str:
    return hmac.new(here.secret, f"reader {said} {at}".encode(), hashlib.sha256).hexdigest()


def _of_cookie(here: Context, cookie: str) -> str:
    """Return the name that a cookie of ours holds, empty where it is none, or of an earlier shift."""
    said, _, rest = cookie.partition(".")
    at, _, signature = rest.partition(".")
    if not at.isascii() or not at.isdigit() or len(at) > 12:
        return ""
    if not hmac.compare_digest(signature.encode(), _signature(here, said, int(at)).encode()):
        return ""
    if here.clock() - int(at) > KEPT_SECONDS:
        return ""
    try:
        return base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def reader_of(request: Request, here: Here) -> Reader:
    """Return who sent a request, as far as is known."""
    user = getattr(request.state, "known_user", None)
    if user is not None:
        return Reader(user.name, "user" if user.name else "", may_speak_for_others=user.program)
    name = _of_cookie(here, request.cookies.get(COOKIE, ""))
    return Reader(name, "asked" if name else "", may_speak_for_others=True)


TheReader = Annotated[Reader, Depends(reader_of)]
"""Who reads, as a parameter of a route."""
