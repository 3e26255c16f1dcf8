# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""OCI images from files, without Docker and the same bytes every time."""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

USER = "65532"


@dataclass(frozen=True)
class File:
    """One entry of a layer; a directory has no content."""

    path: str
    content: bytes | None
    mode: int = 0o644


@dataclass(frozen=True)
class Blob:
    """Bytes with the name that their hash gives them."""

    kind: str
    content: bytes

    @property
    def digest(self) -> str:
        """Their name."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def descriptor(self) -> dict[str, object]:
        """How another blob refers to this one."""
        return {"mediaType": self.kind, "digest": self.digest, "size": len(self.content)}


@dataclass(frozen=True)
class Image:
    """A manifest with everything it refers to."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]

    def blobs(self) -> tuple[Blob, ...]:
        """All blobs but the manifest."""
        return (*self.layers, self.config)


@dataclass(frozen=True)
class Options:
    """What an image says about how it is run."""

    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    user: str = USER
    labels: dict[str, str] = field(default_factory=dict)
    environment: tuple[str, ...] = ("PATH=/usr/local/bin:/usr/bin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt")


def build(layers: list[list[File]], options: Options) -> Image:
    """Makes an image of one layer per list of files."""
    blobs = tuple(Blob(LAYER, _archive(files)) for files in layers)
    settings: dict[str, object] = {
        "Entrypoint": list(options.entrypoint),
        "Cmd": list(options.arguments),
        "User": options.user,
        "Env": list(options.environment),
        "Labels": options.labels,
        "WorkingDir": "/",
    }
    document: dict[str, object] = {
        "architecture": "amd64" if _is_x86(layers) else "arm64",
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in blobs]},
    }
    config = Blob(CONFIG, _json(document))
    manifest: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [blob.descriptor() for blob in blobs],
    }
    return Image(Blob(MANIFEST, _json(manifest)), config, blobs)


def write_archive(image: Image, references: list[str], path: Path) -> None:
    """Writes an OCI layout archive that containerd imports under the given references."""
    entries = []
    for reference in references:
        names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[-1]}
        entries.append(image.manifest.descriptor() | {"annotations": names})
    index: dict[str, object] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    files = [File("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), File("index.json", _json(index))]
    for blob in (*image.blobs(), image.manifest):
        files.append(File(f"blobs/sha256/{blob.digest.removeprefix('sha256:')}", blob.content))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(_archive(files))
    partial.rename(path)


def read_archive(path: Path) -> tuple[Image, list[str]]:
    """Reads an archive that `write_archive` wrote, with the references in it."""
    with tarfile.open(path) as archive:
        contents = {member.name: _read(archive, member) for member in archive if member.isfile()}
    entries = json.loads(contents["index.json"])["manifests"]

    def blob(descriptor: dict[str, str]) -> Blob:
        return Blob(descriptor["mediaType"], contents[f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"])

    manifest = blob(entries[0])
    document = json.loads(manifest.content)
    image = Image(manifest, blob(document["config"]), tuple(blob(layer) for layer in document["layers"]))
    return image, [entry["annotations"]["io.containerd.image.name"] for entry in entries]


def _archive(files: list[File]) -> bytes:
    """A tar with fixed times and owners, so that equal files make equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for file in sorted(_with_parents(files), key=lambda file: file.path):
            entry = tarfile.TarInfo(file.path)
            entry.mode = file.mode
            entry.mtime = 0
            if file.content is None:
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            else:
                entry.size = len(file.content)
                archive.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()


def _with_parents(files: list[File]) -> list[File]:
    entries = {file.path: file for file in files}
    for file in files:
        for parent in Path(file.path).parents:
            if str(parent) != ".":
                entries.setdefault(str(parent), File(str(parent), None, 0o755))
    return list(entries.values())


def _is_x86(layers: list[list[File]]) -> bool:
    """Reads the machine field of the first ELF file."""
    for file in (file for layer in layers for file in layer):
        if file.content and file.content[:4] == b"\x7fELF":
            return int.from_bytes(file.content[18:20], "little") == 62
    return True


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    handle = archive.extractfile(member)
    return handle.read() if handle else b""


def _json(document: dict[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
