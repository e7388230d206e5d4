"""The clips of a manifest, a CSV file."""

import dataclasses
import hashlib
import re
from pathlib import Path

from tcmax_jax.data.clips import Listing, RawDataError
from tcmax_jax.data.manifest import read_manifest
from tcmax_jax.data.preparation.builder import ClipsBuilder
from tcmax_jax.data.preparation.settings import ClipsSettings
from tcmax_jax.data.stored import Features


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManifestSettings(ClipsSettings):
    """Source and form of a manifest data set.

    Attributes:
        manifest: Path of the CSV file.
        outside_paths: Whether its paths may lead out of its folder.
    """

    manifest: str
    outside_paths: bool = False

    def content_name(self, content: bytes = b"") -> str:
        """Name that is the same for the same CSV, features and form, wherever the folder lies.

        Returns:
            The CSV's folder's name and a digest.

        Raises:
            RawDataError: If the CSV is missing.
        """
        path = Path(self.manifest).resolve()
        if not path.is_file():
            raise RawDataError(f"{path}: expected a CSV file, got none there; correct the path")
        folder = re.sub(r"[^\w-]+", "_", path.parent.name) or "manifest"
        hashed = hashlib.sha256(content + path.read_bytes())
        for form in self.stored.values():
            if isinstance(form, Features):
                _add_files(hashed, path.parent / form.path)
        return f"{folder}-{super().content_name(hashed.digest())}"


class Manifest(ClipsBuilder):
    """Anybody's clips, with labels from the train rows."""

    def list_clips(self) -> Listing:
        """Reads the CSV file."""
        settings = self.settings
        return read_manifest(settings.manifest, outside_paths=settings.outside_paths)


def _add_files(hashed, path: Path) -> None:
    """Lets features count by what they are: whoever extracts them anew wants the new ones."""
    for file in sorted(path.glob("*.npy")) if path.is_dir() else [path]:
        if file.is_file():
            hashed.update(file.name.encode() + file.read_bytes())
