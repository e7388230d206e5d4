"""The interface of all sources of examples."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tcmax_jax.data.clips import Listing
from tcmax_jax.data.forms import Form, Frames, LogSpectrogram
from tcmax_jax.files import local
from tcmax_jax.section import CountOrZero, Family, Limits, section

if TYPE_CHECKING:
    from tcmax_jax.data.datasets import Dataset

Stored = Annotated[dict[str, Form], Limits(min_length=1)]
# Of train, cut off by hash; the share of the PyTorch TCMax code, which shuffles the list.
ValidationShare = Annotated[float, Limits(ge=0, lt=1)]


def stores(**forms: Form):
    """Returns the field `stored` with a default."""
    return dataclasses.field(default_factory=lambda: dict(forms))


@section
class Source(Family):
    """Base of all data sets.

    Attributes:
      elsewhere: names of the fields that say where raw data lies and how it is decoded, not what
        comes of it.
      later: names of the fields that came after data was prepared: with their defaults, they leave
        its name as it is.
      citation: its paper.
      version: of the layout of prepared data.
      known_classes: number of classes where it is known without the data.
    """

    elsewhere: ClassVar[tuple[str, ...]] = ()
    later: ClassVar[tuple[str, ...]] = ()
    citation: ClassVar[str] = ""
    version: ClassVar[str] = "1.0.0"
    known_classes: ClassVar[int | None] = None

    @property
    def forms(self) -> Mapping[str, Form]:
        """{modality: what is stored of it}."""
        raise NotImplementedError

    def content_name(self) -> str:
        """Returns the name of the prepared data, which depends on all that decides its content.

        Raises:
          RawDataError: it depends on a file that is not there.
        """
        return digest(self._content())

    def prepared_folder(self, data_dir: str | Path) -> Path:
        """Returns the folder of the prepared data, see `content_name`."""
        return local(data_dir) / self.kind / self.content_name() / self.version

    def open(self) -> "Dataset | None":
        """Opens data that needs no preparation; None if it has to be prepared first.

        A source of a recipe may return a `tcmax_jax.data.datasets.Dataset` of anything that has a
        length and gives records by index, such as a Hugging Face data set.
        """
        return None

    def list_clips(self) -> Listing | None:
        """Returns the clips of the raw data; None if examples are generated.

        Media files are not looked at.

        Raises:
          RawDataError: the raw data does not fit.
        """
        return None

    def _content(self):
        left_out = {"kind", *self.elsewhere}
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in left_out
            and not (field.name in self.later and getattr(self, field.name) == field.default)
        }


@section
class ClipsSource(Source):
    """Base of data sets of clips.

    Attributes:
      stored: {modality: what is stored of it}.
      allow_skipped: leave out clips that cannot be decoded instead of stopping.
      processes: number of decoding processes; 0 takes all cores that the command may use.
      beam: options of an Apache Beam pipeline that decodes instead, such as
        ["--runner=FlinkRunner"].
      layout: how a raw folder has to look.
    """

    elsewhere: ClassVar = ("allow_skipped", "processes", "beam")
    layout: ClassVar[str] = ""

    stored: Stored = stores(audio=LogSpectrogram(), visual=Frames())
    allow_skipped: bool = False
    processes: CountOrZero = 0
    beam: tuple[str, ...] | None = None

    @property
    def forms(self):
        """{modality: what is stored of it}."""
        return self.stored

    def with_forms(self, fields: Mapping[str, Mapping]) -> "ClipsSource":
        """Returns the source with {modality: fields of its form} that were read from files."""
        forms = {
            m: dataclasses.replace(form, **fields.get(m, {})) for m, form in self.stored.items()
        }
        return dataclasses.replace(self, stored=forms)

    def _content(self):
        stored = {name: dataclasses.asdict(form) for name, form in self.stored.items()}
        for name, form in stored.items():
            for field in ("kind", *self.stored[name].from_files):
                del form[field]
        kinds = {name: type(form).__name__ for name, form in self.stored.items()}
        return super()._content() | {"stored": stored, "kinds": kinds}


def digest(fields: Mapping, content: bytes = b"") -> str:
    """Returns the first digits of a SHA-256 over settings (as JSON, sorted) and a file's bytes.

    Numbers count by their value, so that 1 and 1.0 are the same setting.
    """
    text = json.dumps(_floats(fields), sort_keys=True).encode()
    return hashlib.sha256(text + content).hexdigest()[:10]


def _floats(value):
    if isinstance(value, Mapping):
        return {name: _floats(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_floats(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
