# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The command line of `tests/cluster/image`."""

import argparse
import sys
from pathlib import Path

from . import oci, push, rootfs
from .process import HarnessError


def main(arguments: list[str]) -> int:
    """Builds or pushes one image."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="image", description="Build OCI images from programs, and push them.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    build = verbs.add_parser("build", help="an image from a static program, or from a dynamic one with its libraries")
    build.add_argument("--binary", type=Path, required=True)
    build.add_argument("--ref", required=True, metavar="HOST/REPOSITORY:TAG")
    build.add_argument("--path", help="where the program lies in the image (default: /usr/local/bin/ and its name)")
    build.add_argument("--file", action="append", default=[], metavar="SOURCE=PATH", help="one more file")
    build.add_argument("--arg", action="append", default=[], help="a default argument of the program")
    build.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    build.add_argument("--user", default=oci.USER)
    build.add_argument("--strip", action="store_true", help="take symbols off a copy of the program")
    build.add_argument("--output", type=Path, help="write an OCI layout archive")
    build.add_argument("--push", action="store_true", help="push to the registry that --ref names")
    build.set_defaults(run=_build)
    send = verbs.add_parser("push", help="push an archive under the references in it")
    send.add_argument("archive", type=Path)
    send.set_defaults(run=_push)
    return parser


def _build(options: argparse.Namespace) -> None:
    place = options.path or f"/usr/local/bin/{options.binary.name}"
    extra = [oci.File(path.lstrip("/"), Path(source).read_bytes()) for source, path in map(_pair, options.file)]
    layers = rootfs.layers_for(options.binary, place, options.strip, extra)
    settings = oci.Options((place,), tuple(options.arg), options.user, dict(map(_pair, options.label)))
    image = oci.build(layers, settings)
    if options.output:
        oci.write_archive(image, [options.ref], options.output)
    if options.push:
        push.push(image, options.ref)
    repository = options.ref.rpartition(":")[0]
    print(f"{repository}@{image.manifest.digest}")


def _push(options: argparse.Namespace) -> None:
    image, references = oci.read_archive(options.archive)
    for reference in references:
        print(push.push(image, reference))


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise HarnessError(f"{text!r} is not of the form KEY=VALUE")
    return key, value
