"""Builds the native part; all metadata is in pyproject.toml.

NEUROGAZE_BUILD_NATIVE=0 builds none of it. Each extension is optional: where it cannot be built,
the package installs without it, says so in one line, and runs on its Python counterpart.
"""

import os
import sys
import textwrap
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

LOST = {"neurogaze_fast._io": "fer2013.csv is read by the slower Python reader"}
"""What is lost without each extension; the key is the extension's name."""


def extensions() -> list[Extension]:
    """The extensions to build: none with NEUROGAZE_BUILD_NATIVE=0."""
    if os.environ.get("NEUROGAZE_BUILD_NATIVE") == "0":
        return []
    # No -march=native: a wheel runs on machines other than the one that built it.
    io_flags = [] if os.name == "nt" else ["-O3", "-pthread"]
    return [
        Pybind11Extension(
            "neurogaze_fast._io",
            ["csrc/io/fer_csv.cpp"],
            cxx_std=17,
            extra_compile_args=io_flags,
            extra_link_args=io_flags,
            optional=True,
        )
    ]


class OptionalBuildExt(build_ext):
    """Goes on without an extension that does not build."""

    def build_extension(self, ext: Extension) -> None:
        """Build `ext`, or warn in one line and remove an older build of it from the source tree."""
        try:
            super().build_extension(ext)
        except Exception as error:  # whatever a compiler, a linker or their absence may raise
            why = textwrap.shorten(str(error), 120)  # the compiler's own words are printed above
            print(f"warning: {ext.name} not built ({why}): {LOST[ext.name]}.", file=sys.stderr)
            # An editable install would otherwise go on loading what was built from older source.
            Path(self.get_ext_filename(ext.name)).unlink(missing_ok=True)


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuildExt})
