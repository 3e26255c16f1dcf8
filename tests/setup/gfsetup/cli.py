# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The command line of `tests/setup/tool`."""

import argparse
import sys

from .cache import BuildError, obtain
from .recipes import catalogue


def main(arguments: list[str]) -> int:
    """Prints one path per asked tool, or the catalogue."""
    parser = argparse.ArgumentParser(prog="tool", description="Build test tools on first use and print their paths.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names of all tools")
    options = parser.parse_args(arguments)
    recipes = catalogue()
    if options.list or not options.names:
        for recipe in recipes.values():
            print(f"{recipe.name:18} {recipe.about}")
        return 0
    unknown = [name for name in options.names if name not in recipes]
    if unknown:
        parser.error(f"no such tool: {', '.join(unknown)}")
    try:
        # Last of all: what builds say stands before them, also where both go to one file.
        for path in [obtain(recipes[name]) for name in options.names]:
            print(path)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
