"""
Where `cert import` finds certificates: files and folders, read lazily and in the same order each time.

What a file is, its first bytes say: DER of a certificate or of PKCS#7, a JSON array (a manifest), else PEM text. A
file of a million certificates is never in memory as a whole.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from handfast.core.pki import bundle, manifest, pkcs7
from handfast.core.pki.manifest import ManifestSigner
from handfast.core.pki.pem import MAX_CERTIFICATE_CHARACTERS
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.printable import printable

CERTIFICATE_SUFFIXES = frozenset({".pem", ".crt", ".cer", ".cert", ".der", ".p7b", ".p7c", ".p7s", ".p7", ".spc"})
MANIFEST_SUFFIXES = frozenset({".json"})
MAX_DEPTH = 32
"""Of folders in folders."""

NOT_READABLE = "NotReadable"
MANIFEST_REFUSED = "ManifestRefused"
SKIPPED = "Skipped"
HOW_TO_VERIFY = "give the certificate that signed it, which Microchip publishes, with --manifest-cert FILE"

_HEAD_BYTES = 512
_PIECE_CHARACTERS = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """
    One thing that was found: a certificate (`der`), or why there is none (`code` and `message`).

    `source` is the path as the user would write it, `place` where in it: `line 12`,
    `certificate 3`, `element 7`. `read_bytes`: how much of all the sources
    has been read with it. `code` `Skipped`: left out on purpose, no failure.
    """

    source: str
    place: str = ""
    der: bytes | None = field(default=None, repr=False)
    unique_id: str | None = None
    code: str = ""
    message: str = ""
    read_bytes: int = 0


class Sources:
    """The paths of one import. Iterating reads them from the beginning."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        signer: ManifestSigner | None = None,
        include_ca: bool = False,
        own_files: Collection[Path] = (),
    ) -> None:
        """
        Args:
            own_files: The import's own, which are passed over where they lie in a folder that is read.
            signer: Verifies manifests; without it they are refused.
            include_ca: CA certificates too, which are left out otherwise: whoever holds a CA's key is no device.

        Raises:
            ConfigurationError: A path that does not exist or is neither file nor folder, or a manifest and no signer.
        """
        self._paths = list(paths)
        self._signer = signer
        self._include_ca = include_ca
        self._own_files = {os.path.abspath(path) for path in own_files}
        for path in self._paths:
            self._check(path)

    def total_bytes(self) -> int:
        """The size of everything that will be read; walks the folders."""
        return sum(size for _, size in self._files() if size is not None)

    def __iter__(self) -> Iterator[Item]:
        before = 0
        for found, size in self._files():
            if isinstance(found, Item):
                yield _at(found, before)
                continue
            assert size is not None
            yield from self._read(found, before)
            before += size

    def _check(self, path: Path) -> None:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise ConfigurationError(f"{printable(str(path))} cannot be read: {error.strerror}") from None
        if stat.S_ISDIR(mode):
            return
        if not stat.S_ISREG(mode):
            raise ConfigurationError(f"{printable(str(path))} is neither a file nor a folder")
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD_BYTES)
        except OSError as error:
            raise ConfigurationError(f"{printable(str(path))} cannot be read: {error.strerror}") from None
        if self._signer is None and _is_array(head):
            raise ConfigurationError(f"{printable(str(path))} is a manifest, and nothing verifies it: {HOW_TO_VERIFY}")

    # --- which files --------------------------------------------------------------------------------------------

    def _files(self) -> Iterator[tuple[Path | Item, int | None]]:
        """Each file with its size, or an item about what is left out."""
        for path in self._paths:
            if path.is_dir():
                yield from self._folder(path, 0)
            else:
                try:
                    yield path, path.stat().st_size
                except OSError as error:
                    yield _unreadable(path, error), None

    def _folder(self, folder: Path, depth: int) -> Iterator[tuple[Path | Item, int | None]]:
        if depth >= MAX_DEPTH:
            yield _skipped(folder, f"The folder is more than {MAX_DEPTH} folders deep."), None
            return
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            yield _unreadable(folder, error), None
            return
        for name in names:
            path = folder / name
            if os.path.abspath(path) in self._own_files:
                continue
            try:
                facts = path.lstat()
            except OSError as error:
                yield _unreadable(path, error), None
                continue
            if stat.S_ISDIR(facts.st_mode):
                yield from self._folder(path, depth + 1)
            elif not stat.S_ISREG(facts.st_mode):
                # A link may lead round in a circle, or out of what the user named.
                yield _skipped(path, "It is a link or a device, which are not followed in folders."), None
            elif path.suffix.lower() not in CERTIFICATE_SUFFIXES | MANIFEST_SUFFIXES:
                yield _skipped(path, "A file of this name is not taken for certificates."), None
            else:
                yield path, facts.st_size

    # --- what is in them ----------------------------------------------------------------------------------------

    def _read(self, path: Path, before: int) -> Iterator[Item]:
        source = str(path)
        found = False
        try:
            with path.open("rb") as file:
                head = file.peek(_HEAD_BYTES)[:_HEAD_BYTES]
                for item in self._items(source, file, head):
                    found = True
                    yield _at(item, before + file.tell())
        except OSError as error:
            yield _at(_unreadable(path, error), before)
            return
        except UnicodeDecodeError:
            yield _at(_broken(source, "", "The manifest is not UTF-8 from here on.", code=MANIFEST_REFUSED), before)
            return
        if not found:
            yield _at(_broken(source, "", "The file holds no certificate."), before)

    def _items(self, source: str, file: io.BufferedReader, head: bytes) -> Iterator[Item]:
        if head[:1] == b"\x30":
            return self._der(source, file, head)
        if _is_array(head):
            return self._manifest(source, file)
        if Path(source).suffix.lower() in MANIFEST_SUFFIXES:
            return iter([_skipped(Path(source), "It is JSON, but not an array, which a manifest is.")])
        return self._pem(source, file)

    def _der(self, source: str, file: io.BufferedReader, head: bytes) -> Iterator[Item]:
        if pkcs7.is_pkcs7(head):
            yield from self._pkcs7(source, "", file.read(pkcs7.MAX_PKCS7_BYTES + 1))
            return
        der = file.read(MAX_CERTIFICATE_CHARACTERS + 1)
        if len(der) > MAX_CERTIFICATE_CHARACTERS:
            yield _broken(source, "", f"The certificate has more than {MAX_CERTIFICATE_CHARACTERS} bytes.")
            return
        yield self._certificate(source, "", der)

    def _pkcs7(self, source: str, place: str, der: bytes) -> Iterator[Item]:
        try:
            certificates = pkcs7.certificates(der)
        except CertificateInputError as error:
            yield _broken(source, place, str(error))
            return
        for number, certificate in enumerate(certificates, start=1):
            yield self._certificate(source, f"{place}, certificate {number}".lstrip(", "), certificate)

    def _pem(self, source: str, file: io.BufferedReader) -> Iterator[Item]:
        for block in bundle.blocks(iter(lambda: file.readline(bundle.MAX_LINE_BYTES), b"")):
            place = f"line {block.line}"
            if block.error is not None:
                yield _broken(source, place, block.error)
            elif block.data is None:
                yield _skipped(Path(source), f"A block labelled {printable(block.label)} is no certificate.", place)
            elif block.label in bundle.PKCS7_LABELS:
                yield from self._pkcs7(source, place, block.data)
            else:
                yield self._certificate(source, place, block.data)

    def _manifest(self, source: str, file: io.BufferedReader) -> Iterator[Item]:
        if self._signer is None:
            yield _broken(
                source, "", f"It is a manifest, and nothing verifies it: {HOW_TO_VERIFY}.", code=MANIFEST_REFUSED
            )
            return
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="strict", newline="")
        try:
            for element in manifest.elements(iter(lambda: text.read(_PIECE_CHARACTERS), ""), self._signer):
                place = f"element {element.index}"
                if element.error is not None:
                    yield _broken(source, place, element.error, code=MANIFEST_REFUSED, unique_id=element.unique_id)
                for der in element.certificates:
                    yield self._certificate(source, place, der, unique_id=element.unique_id)
        finally:
            text.detach()  # the file is the caller's to close

    def _certificate(self, source: str, place: str, der: bytes, *, unique_id: str | None = None) -> Item:
        if not self._include_ca and is_ca(der):
            text = "It is a CA certificate, not a device's; --include-ca registers it all the same."
            return Item(source=source, place=place, der=der, unique_id=unique_id, code=SKIPPED, message=text)
        return Item(source=source, place=place, der=der, unique_id=unique_id)


def is_ca(der: bytes) -> bool:
    """Whether basicConstraints say CA:TRUE. What cannot be read is for the server to judge."""
    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except Exception:
        return False


def _is_array(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _at(item: Item, read_bytes: int) -> Item:
    return Item(
        source=item.source,
        place=item.place,
        der=item.der,
        unique_id=item.unique_id,
        code=item.code,
        message=item.message,
        read_bytes=read_bytes,
    )


def _broken(source: str, place: str, message: str, *, code: str = NOT_READABLE, unique_id: str | None = None) -> Item:
    return Item(source=source, place=place, code=code, message=message, unique_id=unique_id)


def _skipped(path: Path, message: str, place: str = "") -> Item:
    return Item(source=str(path), place=place, code=SKIPPED, message=message)


def _unreadable(path: Path, error: OSError) -> Item:
    return _broken(str(path), "", f"It cannot be read: {error.strerror}.")
