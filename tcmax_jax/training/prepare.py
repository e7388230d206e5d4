"""From the data section of a configuration to a prepared data set."""

import contextlib
import dataclasses
import os
from pathlib import Path

from tcmax_jax.data import stored as forms
from tcmax_jax.data.builders.ave.ave_dataset_builder import Ave, AveSettings
from tcmax_jax.data.builders.crema_d_av.crema_d_av_dataset_builder import CremaDAv, CremaDSettings
from tcmax_jax.data.builders.kinetics_sounds.kinetics_sounds_dataset_builder import (
    KineticsSounds,
    KineticsSoundsSettings,
)
from tcmax_jax.data.builders.manifest.manifest_dataset_builder import Manifest, ManifestSettings
from tcmax_jax.data.builders.mvsa_features.mvsa_features_dataset_builder import (
    MvsaFeatures,
    MvsaSettings,
)
from tcmax_jax.data.builders.synthetic.synthetic_dataset_builder import (
    Synthetic,
    SyntheticSettings,
    prepare_synthetic,
)
from tcmax_jax.data.builders.ucf101_flow.ucf101_flow_dataset_builder import (
    Ucf101Flow,
    Ucf101Settings,
)
from tcmax_jax.data.builders.vggsound.vggsound_dataset_builder import Vggsound, VggsoundSettings
from tcmax_jax.data.clips import Listing
from tcmax_jax.data.preparation.builder import ClipsConfig, prepare_clips
from tcmax_jax.data.preparation.naming import digest
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.data import SyntheticData
from tcmax_jax.training.locks import locked
from tcmax_jax.training.processes import say

_BUILDERS = {
    "manifest": (Manifest, ManifestSettings),
    "crema_d_av": (CremaDAv, CremaDSettings),
    "kinetics_sounds": (KineticsSounds, KineticsSoundsSettings),
    "ave": (Ave, AveSettings),
    "vggsound": (Vggsound, VggsoundSettings),
    "ucf101_flow": (Ucf101Flow, Ucf101Settings),
    "mvsa_features": (MvsaFeatures, MvsaSettings),
}
BUILDER_NAMES = (Synthetic.name, *(builder.name for builder, _ in _BUILDERS.values()))
_FORMS = {
    "log_spectrogram": forms.LogSpectrogram,
    "filter_bank": forms.FilterBank,
    "frames": forms.Frames,
    "flow": forms.Flow,
    "features": forms.Features,
}


def prepare_data(config: Config, data_dir: str | os.PathLike) -> str:
    """Prepares the data set of a configuration unless it is there, and returns its folder.

    Of several processes that prepare in one folder at a time all but one wait.

    Raises:
      RawDataError: the raw data does not fit the configuration.
    """
    # Where it is there, the folder need not be one that can be written.
    alone = contextlib.nullcontext()
    if not prepared_folder(config, data_dir).exists():
        Path(data_dir).mkdir(parents=True, exist_ok=True)
        alone = locked(Path(data_dir) / "preparing.lock", wait=True)
    with alone:
        return _prepare(config, data_dir)


def _prepare(config, data_dir):
    if isinstance(config.data, SyntheticData):
        settings = _settings(SyntheticSettings, config.data)
        if not prepared_folder(config, data_dir).exists():
            say("generating the built-in data set ...")
        return str(prepare_synthetic(settings, data_dir).data_path)
    return str(prepare_clips(*_clips(config), data_dir).data_path)


def prepared_folder(config: Config, data_dir: str | os.PathLike) -> Path:
    """Returns the folder in which the data of a configuration lies once it is prepared.

    Raises:
      RawDataError: it is named after a list that is not there.
    """
    if isinstance(config.data, SyntheticData):
        builder = Synthetic
        name = digest(dataclasses.asdict(_settings(SyntheticSettings, config.data)))
    else:
        builder, settings = _clips(config)
        name = settings.content_name()
    return Path(data_dir) / builder.name / name / str(builder.VERSION)


def list_clips(config: Config, data_dir: str | os.PathLike) -> Listing:
    """Returns the clips of a configuration that has some, from its raw data; prepares nothing.

    Raises:
      RawDataError: the raw data does not fit the configuration.
    """
    builder, settings = _clips(config)
    named = ClipsConfig(name=settings.content_name(), settings=settings)
    return builder(config=named, data_dir=data_dir, file_format="array_record").listing


def stored_forms(config: Config) -> dict:
    """Returns {modality: what is stored of it} of a configuration that has clips."""
    return {name: _settings(_FORMS[form.kind], form) for name, form in config.data.stored.items()}


def _clips(config):
    """Returns (builder, settings) of a configuration that has clips."""
    builder, settings = _BUILDERS[config.data.kind]
    return builder, _settings(settings, config.data, stored=stored_forms(config))


def _settings(cls, section, **others):
    """Returns the settings that a section describes: its fields of the same names."""
    names = {field.name for field in dataclasses.fields(cls)} - set(others)
    return cls(**{name: getattr(section, name) for name in names}, **others)
