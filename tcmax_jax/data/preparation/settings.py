"""What decides the content of a prepared set of clips, whatever its source."""

import dataclasses
from collections.abc import Mapping, Sequence

from tcmax_jax.data.preparation.naming import digest
from tcmax_jax.data.stored import Stored

# Where the raw data lies and how it is decoded, not what comes of it.
_FREE = ("raw_dir", "manifest", "outside_paths", "allow_skipped", "processes", "beam")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipsSettings:
    """How clips are prepared; the settings of each data set add its source.

    Attributes:
        stored: {modality: what is stored of it}.
        allow_skipped: Leave out clips that cannot be decoded instead of stopping.
        processes: Number of processes that decode; 0 takes all cores.
        beam: Options of an Apache Beam pipeline that decodes instead, such as
            "--runner=FlinkRunner"; None decodes with `processes`.
    """

    stored: Mapping[str, Stored]
    allow_skipped: bool
    processes: int
    beam: Sequence[str] | None

    def content_name(self, content: bytes = b"") -> str:
        """Name of the prepared data set, a digest of all that decides its content.

        The raw files are not part of it: where they change under the same names, delete the
        prepared folder.

        Args:
            content: Bytes that decide it too.
        """
        fields = dataclasses.asdict(self)
        for name in _FREE:
            fields.pop(name, None)
        kinds = {name: type(form).__name__ for name, form in self.stored.items()}
        return digest({**fields, "kinds": kinds}, content)
