"""DICOM over TLS, both sides with a certificate (PS3.15 B.12: the BCP 195 profile without downgrading).

TLS 1.2 or newer, with ephemeral key exchange and authenticated encryption alone. A peer is trusted when the
site's certification authority signed its certificate; who it is to us is told by AE title and address.
"""

import ssl
from pathlib import Path
from typing import Final

# RFC 9325 4.2; what TLS 1.3 has is all of that kind.
_CIPHERS: Final = "ECDHE+AESGCM:DHE+AESGCM"


def client(certificate: Path, key: Path, ca: Path, *, check_host: bool) -> ssl.SSLContext:
    """Return how we speak TLS with a peer that we call.

    Parameters
    ----------
    certificate, key
        Ours, PEM; the certificate with those that lead to its authority.
    ca
        Authorities that peers' certificates have to come from, PEM.
    check_host
        Whether a peer's certificate has to name its host.

    Raises
    ------
    OSError
        A file is missing, or is not what it is to be (`ssl.SSLError`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_host
    return _filled(context, certificate, key, ca)


def server(certificate: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """Return how we speak TLS with peers that call us: each has to show a certificate.

    Raises
    ------
    OSError
        As `client`.
    """
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key, ca)


def _filled(context: ssl.SSLContext, certificate: Path, key: Path, ca: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(ca)
    return context
