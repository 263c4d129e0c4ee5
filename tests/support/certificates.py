"""A certification authority and certificates for a test, made by OpenSSL."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate, its key, and the authority that signed it."""

    certificate: Path
    key: Path
    ca: Path


class Authority:
    """Signs certificates for 127.0.0.1.

    Parameters
    ----------
    folder
        Where its files go.
    name
        Common name; two authorities of one name are two all the same.
    """

    def __init__(self, folder: Path, name: str = "site") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = folder / "ca.key"
        self.certificate = folder / "ca.pem"
        _openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip

    def sign(self, name: str) -> Certificate:
        """Make a key, and a certificate for it."""
        key, request, signed = (self._folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        names = self._folder / f"{name}.ext"
        names.write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-days", "2", "-in", request, "-CA", self.certificate, "-CAkey", self._key,
            "-CAcreateserial", "-extfile", names, "-out", signed,
        )  # fmt: skip
        return Certificate(signed, key, self.certificate)


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)
