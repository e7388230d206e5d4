"""The required packages, as setup.cfg lists them: versions, and the commands to install them.

Worker processes import this module, so it must stay light.
"""

import functools
import importlib.metadata
import platform
import re
from collections.abc import Iterator

from tcmax_jax import __version__

# Modules whose package has another name.
_PACKAGES = {"cv2": "opencv-python-headless"}
# What turns media files into numbers: another version may give other ones.
DECODERS = ("av", "FFmpeg", "opencv-python-headless")


def install_line(module: str) -> str:
    """Returns the command that installs the package of a module.

    Args:
      module: name of a module that cannot be imported, such as "tensorflow_datasets".

    Returns:
      The line for the extra of tcmax_jax that has it, or for the package by itself.
    """
    top = module.split(".")[0]
    package = _canonical(_PACKAGES.get(top, top))
    for extra, name in _requirements():
        if extra and name == package:
            return f"pip install 'tcmax_jax[{extra}]'"
    return f"pip install {package}"


def package_of(module: str) -> str | None:
    """Returns the name and version of the installed package of a module; None if it has none."""
    packages = _packages_of_modules().get(module.partition(".")[0])
    return packages and f"{packages[0]} {importlib.metadata.version(packages[0])}"


# It reads the lists of files of all packages, which takes most of a second.
_packages_of_modules = functools.cache(importlib.metadata.packages_distributions)


def versions() -> dict[str, str]:
    """Returns the versions of Python and of all installed packages that runs depend on.

    Returns:
      {"python", "tcmax_jax", the packages of the core and of the extras train and media, "FFmpeg":
      version}.
    """
    return dict(_installed())


@functools.cache
def _installed() -> tuple[tuple[str, str], ...]:
    versions = {"python": platform.python_version(), "tcmax_jax": __version__}
    for extra, name in _requirements():
        if extra in (None, "train", "media"):
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
    try:
        import av

        versions["FFmpeg"] = av.ffmpeg_version_info
    except ImportError:
        pass
    return tuple(versions.items())


def _requirements() -> Iterator[tuple[str | None, str]]:
    """Yields (extra or None, name) of each package that tcmax_jax requires."""
    try:
        lines = importlib.metadata.requires("tcmax_jax") or []
    except importlib.metadata.PackageNotFoundError:  # A checkout that was not installed.
        return
    for line in lines:
        extra = re.search(r"extra == ['\"]([\w-]+)", line)
        yield extra and extra[1], _canonical(re.match(r"[\w.-]+", line)[0])


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
