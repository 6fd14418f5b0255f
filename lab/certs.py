"""Certificates for the lab: an authority, good ones, and the broken ones a client must refuse."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL = ("127.0.0.1", "localhost")


class Authority:
    """A certificate authority in a directory: ``ca.pem`` is what clients trust."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "st2ha lab CA")])
        now = dt.datetime.now(dt.timezone.utc)
        cert = self._builder(self._name, self._key.public_key(), now - dt.timedelta(days=30), 60)
        cert = cert.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        cert = cert.add_extension(usage, critical=True)
        signed = cert.sign(self._key, hashes.SHA256())
        self.ca_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str, hosts: Sequence[str] = LOCAL) -> Path:
        """A good certificate for ``hosts``: a PEM file (mode 0600) of certificate and key; also good for clients."""
        return self._issue(name, hosts, dt.timedelta(hours=-1), 30)

    def expired(self, name: str, hosts: Sequence[str] = LOCAL) -> Path:
        """Right in all but its time: it ended yesterday."""
        return self._issue(name, hosts, dt.timedelta(days=-11), 10)

    def wrong_name(self, name: str) -> Path:
        """Right in all but its name: it is for ``elsewhere.example``."""
        return self._issue(name, ["elsewhere.example"], dt.timedelta(hours=-1), 30)

    def _issue(self, name: str, hosts: Sequence[str], start: dt.timedelta, days: int) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        cert = self._builder(subject, key.public_key(), dt.datetime.now(dt.timezone.utc) + start, days)
        cert = cert.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        cert = cert.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        cert = cert.add_extension(x509.SubjectAlternativeName([_general_name(h) for h in hosts]), critical=False)
        signed = cert.sign(self._key, hashes.SHA256())
        path = self.directory / f"{name}.pem"
        path.touch(mode=0o600)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
        return path

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, start: dt.datetime, days: int
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(start + dt.timedelta(days=days))
        # Python 3.13's default context refuses certificates without these two (VERIFY_X509_STRICT).
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(authority, critical=False)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
