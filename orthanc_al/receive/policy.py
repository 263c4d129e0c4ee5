"""Whom we take studies from (``dicom.accept``). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from orthanc_al.dicom import Peer

Accept = Literal["listed", "observe", "any"]


class Diagnostic(IntEnum):
    """Reason in an A-ASSOCIATE-RJ by the service user (PS3.8 9.3.4)."""

    CALLING_AE_TITLE_NOT_RECOGNISED = 3
    CALLED_AE_TITLE_NOT_RECOGNISED = 7


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said to a caller.

    Attributes
    ----------
    source
        Name of the peer, ``ae:TITLE`` where it is not listed.
    admitted
        Whether the association is accepted.
    objection
        What ``listed`` has against it, and what to put into the configuration; None where nothing.
    diagnostic
        For the rejection.
    may_store
        Whether it may send objects; a destination may call to answer for what we sent it.
    """

    source: str
    admitted: bool
    objection: str | None = None
    diagnostic: Diagnostic = Diagnostic.CALLING_AE_TITLE_NOT_RECOGNISED
    may_store: bool = True


def decide(
    accept: Accept,
    peers: Sequence[Peer],
    addresses: Sequence[frozenset[str]],
    *,
    own_ae: str,
    calling_ae: str,
    called_ae: str,
    address: str,
    encrypted: bool = False,
) -> Decision:
    """Decide on an association.

    Parameters
    ----------
    accept
        ``listed``: peers with the role ``source`` alone, from their own address and under our AE title;
        ``observe``: all, with what ``listed`` would object; ``any``: all.
    peers, addresses
        The configured peers, and the IP addresses of each one's host.
    own_ae, calling_ae, called_ae, address
        Our AE title, the two titles of the request, and the caller's IP address.
    encrypted
        Whether it came by TLS.
    """
    peer = _who(peers, addresses, calling_ae, address)
    source = _named(peer, peers) if peer else f"ae:{calling_ae}"
    if accept == "any":
        return Decision(source, admitted=True)
    objection, diagnostic = None, Diagnostic.CALLING_AE_TITLE_NOT_RECOGNISED
    if called_ae != own_ae:
        diagnostic = Diagnostic.CALLED_AE_TITLE_NOT_RECOGNISED
        objection = (
            f"it calls us {called_ae!r} and we are {own_ae!r}. To allow it, change the title there, or set "
            f'ae_title = "{called_ae}" in [dicom]'
        )
    elif peer is None:
        objection = f"no peer of this AE title is listed. To allow it, add\n{_toml(calling_ae, address)}"
    elif address not in addresses[peers.index(peer)]:
        objection = (
            f"peer {peer.name!r} has this AE title but another address ({peer.host}). To allow it, set "
            f'host = "{address}" there, or add\n{_toml(calling_ae, address)}'
        )
    elif peer.tls is not None and not encrypted:
        objection = (
            f"peer {peer.name!r} is to come by TLS (tls = true), and came without. Have it call the port "
            "of [dicom.tls], or set tls = false there"
        )
    elif "source" not in peer.roles and peer.commitment:
        return Decision(source, admitted=True, may_store=False)
    elif "source" not in peer.roles:
        roles = ", ".join(f'"{role}"' for role in ("source", *peer.roles))
        objection = f"peer {peer.name!r} has not the role source. To allow it, set roles = [{roles}] there"
    return Decision(source, accept == "observe" or objection is None, objection, diagnostic)


def _who(
    peers: Sequence[Peer], addresses: Sequence[frozenset[str]], calling_ae: str, address: str
) -> Peer | None:
    """Return the peer that calls: by title and address where one fits, else by title."""
    titled = [peer for peer in peers if peer.ae_title.strip() == calling_ae]
    here = [peer for peer in titled if address in addresses[peers.index(peer)]]
    # Two entries may share title and host, one to send and one to receive.
    sources = [peer for peer in here if "source" in peer.roles]
    return next(iter([*sources, *here, *titled]), None)


def _named(peer: Peer, peers: Sequence[Peer]) -> str:
    """Return what the source is called: by its entry as a destination, where it has another one as that.

    A PACS may be listed twice, to send and to receive, and what it sent must not go back to it.
    """
    same = [one for one in peers if (one.ae_title.strip(), one.host) == (peer.ae_title.strip(), peer.host)]
    return next((one.name for one in [peer, *same] if "destination" in one.roles), peer.name)


def _toml(calling_ae: str, address: str) -> str:
    name = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in calling_ae.lower())
    title = calling_ae.replace('"', '\\"')
    return (
        f'[[dicom.peers]]\nname = "{name or "peer"}"\nae_title = "{title}"\nhost = "{address}"\n'
        'port = 104\nroles = ["source"]'
    )
