"""Paths that lead out of a manifest's folder: allowed or not, the data set is the same."""

import dataclasses
import json

import pytest

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.preparation.prepare import prepare
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.training import run_folders
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.overrides import override
from tcmax_jax.training.config.tree import to_dict
from tests.data.media_files import tone, write_media
from tests.data.small_forms import ALONE, SOUND


@pytest.fixture
def settings(tmp_path):
    """A manifest whose clips lie beside its folder."""
    write_media(tmp_path / "media" / "a.wav", audio=tone(0.4))
    path = tmp_path / "lists" / "list.csv"
    path.parent.mkdir()
    path.write_text(
        "id,split,label,path\na,train,cat,../media/a.wav\nb,validation,cat,../media/a.wav\n"
        "c,train,dog,../media/a.wav\n"
    )
    return ManifestData(manifest=str(path), stored={"sound": SOUND}, **ALONE)


def test_the_setting_decides_and_does_not_rename(settings, tmp_path):
    with pytest.raises(RawDataError, match=r"list\.csv, line 2: .*data\.outside_paths=true"):
        prepare(settings, tmp_path / "data")
    allowed = dataclasses.replace(settings, outside_paths=True)
    path = prepare(allowed, tmp_path / "data").data_path
    assert settings.content_name() == allowed.content_name()
    # What was prepared once is read without looking at the list again.
    assert prepare(settings, tmp_path / "data").data_path == path


def test_a_run_may_go_on_with_the_other_setting(tmp_path):
    config = Config(data=ManifestData(manifest="list.csv"))
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    run_folders.check(tmp_path, override(config, {"data.outside_paths": "true"}))
