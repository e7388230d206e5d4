"""From the data section of a configuration to a prepared data set."""

import dataclasses
import os

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
    SyntheticSettings,
    prepare_synthetic,
)
from tcmax_jax.data.builders.ucf101_flow.ucf101_flow_dataset_builder import (
    Ucf101Flow,
    Ucf101Settings,
)
from tcmax_jax.data.builders.vggsound.vggsound_dataset_builder import Vggsound, VggsoundSettings
from tcmax_jax.data.preparation.builder import prepare_clips
from tcmax_jax.training.config import Config
from tcmax_jax.training.data_config import SyntheticData

_BUILDERS = {
    "manifest": (Manifest, ManifestSettings),
    "crema_d_av": (CremaDAv, CremaDSettings),
    "kinetics_sounds": (KineticsSounds, KineticsSoundsSettings),
    "ave": (Ave, AveSettings),
    "vggsound": (Vggsound, VggsoundSettings),
    "ucf101_flow": (Ucf101Flow, Ucf101Settings),
    "mvsa_features": (MvsaFeatures, MvsaSettings),
}
_FORMS = {
    "log_spectrogram": forms.LogSpectrogram,
    "filter_bank": forms.FilterBank,
    "frames": forms.Frames,
    "flow": forms.Flow,
    "features": forms.Features,
}


def prepare_data(config: Config, data_dir: str | os.PathLike) -> str:
    """Prepares the data set of a configuration unless it is there, and returns its folder.

    Raises:
      RawDataError: the raw data does not fit the configuration.
    """
    data = config.data
    if isinstance(data, SyntheticData):
        return str(prepare_synthetic(_settings(SyntheticSettings, data), data_dir).data_path)
    builder, settings = _BUILDERS[data.kind]
    stored = {name: _settings(_FORMS[form.kind], form) for name, form in data.stored.items()}
    return str(prepare_clips(builder, _settings(settings, data, stored=stored), data_dir).data_path)


def _settings(cls, section, **others):
    """Returns the settings that a section describes: its fields of the same names."""
    names = {field.name for field in dataclasses.fields(cls)} - set(others)
    return cls(**{name: getattr(section, name) for name in names}, **others)
