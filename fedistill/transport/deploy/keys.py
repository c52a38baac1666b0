"""Keys and certificates of a deployment, created by one command.

There is a root certificate that everybody trusts, the server's own, and a key for each site by which the server knows
it.

Layout of the folder; a hospital is handed its own ``site-NAME`` and nothing else::

    authority/root.key    signs server certificates; move it to where nobody gets at it: nothing that runs needs it
    server/ca.crt         the root certificate      server/server.crt, server.key
    server/sites/NAME.pub the keys that may connect
    site-NAME/ca.crt      the root certificate      site-NAME/site.key  the site's private key

Whoever has the root key can make servers that every site trusts. So it lies apart from the server's folder, and the
server does not start where it lies beside it. Without it, sites can be added; for another server certificate it has to
be brought back.
"""

import datetime as dt
import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedistill.config.federation import require_name
from fedistill.core.files import PRIVATE_FILE, private_file, private_folder, write_atomic
from fedistill.errors import SettingError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
DAYS = 825
"""Lifetime of a certificate; browsers and libraries distrust longer ones."""

AUTHORITY, ROOT_KEY = "authority", "root.key"

SECRET = PRIVATE_FILE


def make_keys(folder: Path, sites: Sequence[str], hosts: Iterable[str] = ()) -> list[Path]:
    """Make what is not there yet; what is there stays as it is, so that sites can be added later.

    Args:
        folder: where keys and certificates go.
        sites: names of the sites; each gets a key pair.
        hosts: names and addresses under which sites reach the server, beside this machine's own.

    Returns:
        The files made.

    Raises:
        SettingError: a name that cannot be one of a site, other hosts than an earlier certificate names, or a server's
            certificate is to be made and the root key is elsewhere.
    """
    for name in sites:
        try:
            require_name(name, "a site")
        except ValueError as error:
            raise SettingError(str(error)) from error
    server, secret = private_folder(folder / "server"), folder / AUTHORITY / ROOT_KEY
    written = _moved(folder / ROOT_KEY, secret)
    if not secret.exists() and not (server / "ca.crt").exists():
        written += _make_root(secret, server / "ca.crt")
    if (server / "server.crt").exists():
        _require_hosts(server / "server.crt", hosts)
    else:
        root_key, root = _root(secret, server / "ca.crt")
        key, names = ec.generate_private_key(ec.SECP384R1()), dict.fromkeys((*LOOPBACK, *hosts))
        certificate = _certificate("FeDistill server", key, signer=root_key, issuer=root, hosts=names)
        write_atomic(server / "server.key", _pem(key), mode=SECRET)
        write_atomic(server / "server.crt", certificate.public_bytes(Encoding.PEM))
        written += [server / "server.key", server / "server.crt"]
    for name in sites:
        own, public = folder / f"site-{name}", server / "sites" / f"{name}.pub"
        if public.exists():
            continue
        private_folder(own)
        pair = ec.generate_private_key(ec.SECP384R1())
        private = pair.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        write_atomic(own / "site.key", private, mode=SECRET)
        write_atomic(own / "ca.crt", (server / "ca.crt").read_bytes())
        write_atomic(public, pair.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
        written += [own / "site.key", own / "ca.crt", public]
    return written


def _moved(old: Path, new: Path) -> list[Path]:
    """Put a root key where it is kept now, that an earlier FeDistill has left beside the server."""
    if not old.exists():
        return []
    if new.exists():
        raise SettingError(
            "There are two root keys.",
            found=f"{old} and {new}",
            mend="move the one away that did not sign server/ca.crt",
        )
    private_folder(new.parent)
    old.replace(new)
    private_file(new)
    return [new]


def _make_root(secret: Path, public: Path) -> list[Path]:
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = _certificate("FeDistill root", key, signer=key, issuer=None, hosts=())
    write_atomic(public, certificate.public_bytes(Encoding.PEM))
    private_folder(secret.parent)
    write_atomic(secret, _pem(key), mode=SECRET)  # last: where it is, its certificate is
    return [secret, public]


def _root(secret: Path, public: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Load the root's private key and its certificate; create both if they are missing."""
    if not secret.exists():
        raise SettingError(
            "A server's certificate is signed by the root key, which is not here.",
            expected=secret,
            found="none",
            mend="bring it back for as long as this takes; another root key would be one that no site trusts",
        )
    try:
        key, certificate = (
            load_pem_private_key(secret.read_bytes(), None),
            x509.load_pem_x509_certificate(public.read_bytes()),
        )
    except (OSError, ValueError) as error:
        raise SettingError("The root key and its certificate cannot be read.", found=error) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise SettingError(
            f"{public} is not the certificate of {secret}.", mend="give another folder, where new ones are made"
        )
    return key, certificate


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    signer: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    hosts: Iterable[str],
) -> x509.Certificate:
    """Sign a certificate: a root's own without an issuer, else a server's for these hosts."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    root = issuer is None
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=root, path_length=0 if root else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_usage(root), critical=True)
    )
    if not root:
        built = built.add_extension(x509.SubjectAlternativeName([_host(each) for each in hosts]), critical=False)
        built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return built.sign(signer, hashes.SHA384())


def _usage(root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not root,
        key_cert_sign=root,
        crl_sign=root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _require_hosts(path: Path, hosts: Iterable[str]) -> None:
    """Raise SettingError where a certificate made before does not name them."""
    names = x509.load_pem_x509_certificate(path.read_bytes()).extensions
    known = names.get_extension_for_class(x509.SubjectAlternativeName).value
    missing = [host for host in hosts if _host(host) not in known]
    if missing:
        raise SettingError(
            f"The server's certificate was made before and does not name {', '.join(missing)}.",
            found=str(path),
            mend="delete server.crt there and run the command again: what the sites have stays good",
        )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
