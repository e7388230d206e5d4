"""Configurations: overrides, files, JSON, and the messages for what cannot be."""

import json

import pytest

from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.methods import MLA, OGM, PMR, QMF, Joint, Unimodal
from tcmax_jax.training.config import Comparison, Config
from tcmax_jax.training.config.overrides import differences, load_experiment, override
from tcmax_jax.training.config.tree import ConfigError, from_dict, to_dict


def test_json_round_trip():
    config = override(Config(), {"data.kind": "manifest", "data.manifest": "clips.csv"})
    assert from_dict(to_dict(config)) == config


def test_overrides_change_their_field_alone():
    config = override(
        Config(),
        {
            "optimizer.learning_rate": "0.5",
            "method.num_negatives": "64",
            "optimizer.clip_norm": "0.5",
            "optimizer.bound_decrease": "false",
            "data.audio_shape": "[8, 9]",
            "modalities.audio.encoder.kind": "resnet18",
            "modalities.audio.encoder.width": "16",
        },
    )
    assert config.optimizer.learning_rate == 0.5
    assert config.method.num_negatives == 64
    assert config.optimizer.clip_norm == 0.5
    assert config.optimizer.bound_decrease is False
    assert config.data.audio_shape == (8, 9)
    changed = {line.split(":")[0] for line in differences(to_dict(Config()), to_dict(config))}
    assert changed == {
        "optimizer.learning_rate",
        "method.num_negatives",
        "optimizer.clip_norm",
        "optimizer.bound_decrease",
        "data.audio_shape",
        "modalities.audio.encoder.kind",
        "modalities.audio.encoder.sizes",
        "modalities.audio.encoder.width",
    }


def test_names_choose_methods_of_the_recipe_with_their_options():
    recipe = Config(comparison=Comparison(methods=(Joint(), OGM(alpha=0.3))))
    chosen = override(recipe, {"comparison.methods": '["ogm", "pmr", {"name": "qmf"}]'})
    assert chosen.comparison.methods == (OGM(alpha=0.3), PMR(), QMF())
    message = r"methods\.0\.kind: Expected one of joint, unimodal, .*got 'pmx'"
    with pytest.raises(ConfigError, match=message):
        override(recipe, {"comparison.methods": '["pmx"]'})


def test_a_name_chooses_all_methods_that_have_it_and_a_label_one():
    entries = (Unimodal(), Unimodal(modality="audio"), MLA(projection="owm"))
    recipe = Config(comparison=Comparison(methods=entries))
    for choice, expected in (
        (["unimodal"], entries[:2]),
        (["unimodal-modality=audio"], entries[1:2]),
        (["mla", "joint"], (entries[2], Joint())),
        ([{"name": "mla"}, "mla-projection=owm"], (MLA(), entries[2])),
    ):
        chosen = override(recipe, {"comparison.methods": json.dumps(choice)})
        assert chosen.comparison.methods == expected


def test_another_kind_starts_from_its_own_defaults():
    config = override(Config(), {"data.manifest": "clips.csv", "data.kind": "manifest"})
    assert config.data == ManifestData(manifest="clips.csv")


CLIPS_AND_TEXT = json.dumps(
    {
        "kind": "manifest",
        "manifest": "clips.csv",
        "stored": {name: "frames" for name in ("visual", "text")} | {"audio": "log_spectrogram"},
    }
)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optimizer.lr": "1"}, r"field of optimizer \(kind, learning_rate, .*got 'lr'"),
        ({"epochs": "1"}, r"field of the configuration \(name, seed.*got 'epochs'"),
        ({"optimiser.name": "sgd"}, r"such as optimizer.learning_rate, got 'optimiser.name'"),
        ({"method.kind": "tcmaxx"}, r"method\.kind: .* unimodal, .*'tcmaxx'\. Did you mean tcmax"),
        ({"model.fusion": "mix"}, r"model\.fusion\.kind: Expected one of sum, concat, .*got 'mix'"),
        ({"training.epochs": "0"}, r"training.epochs: .*greater than 0, got 0"),
        ({"training.epochs": "many"}, r"training.epochs: .*valid integer.*got 'many'"),
        ({"optimizer.momentum": "1"}, r"optimizer.momentum: .*less than 1, got 1"),
        ({"optimizer.schedule": "step"}, r"optimizer.schedule.decay_epochs: Field required"),
        ({"data.kind": "manifest"}, r"data.manifest: Field required"),
        ({"data.kind": "kinetics"}, r"data\.kind: .*manifest, .*synthetic, .*got 'kinetics'"),
        (
            {"method.kind": "joint", "method.num_negatives": "3"},
            r"method.num_negatives: Unexpected keyword argument, got",
        ),
        (
            {"model.fusion": "gated", "method.kind": "unimodal"},
            r"unimodal cannot train model.fusion=gated; use one of concat, concat_msh, cosine",
        ),
        ({"method.kind": "mla"}, r"mla cannot train model.fusion=concat; use one of share_head"),
        (
            {"method.kind": "agm", "method.response": "split", "model.fusion": "film"},
            r"agm cannot train model.fusion=film; use one of concat",
        ),
        ({"method.kind": "ogm", "method.alpha": "-1"}, r"method.alpha: .*greater than 0, got -1"),
        *(
            (
                {"method.kind": name, "method.first_epoch": "9", "method.last_epoch": "8"},
                r"method: Expected first_epoch <= last_epoch, got 9 > 8\.",
            )
            for name in ("ogm", "ogm_ge", "agm", "pmr")
        ),
        (
            {"method.kind": "unimodal", "method.modality": "smell"},
            r"method.modality is one of audio, visual, got 'smell'",
        ),
        (
            {"method.kind": "infonce", "modalities.audio.encoder.sizes": "[8]"},
            r"infonce .*features of one size, got \{'audio': 8, 'visual': 64\}; change",
        ),
        (
            {"modalities.text": '{"input": {"kind": "frames"}, "encoder": {"kind": "mlp"}}',
             "model.fusion": "film", "data": CLIPS_AND_TEXT},
            r"fusion=film: Expected two modalities .*'audio', 'visual', 'text'\]\. For .*sum",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_explained(overrides, message):
    with pytest.raises(ConfigError, match=message):
        override(Config(), overrides)


FEATURES = '{"kind": "features", "path": "x.npz", "size": 8}'
RESNET = '{"input": {"kind": "array"}, "encoder": {"kind": "resnet18"}}'
CLIPS = Config(data=ManifestData(manifest="clips.csv"))
FROZEN = '{"input": {"kind": "array"}, "encoder": {"kind": "frozen", "size": 8}}'


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"modalities.text": FROZEN},
            r"modalities.text is not in the data, which stores audio, visual",
        ),
        (
            {"modalities.audio.input.kind": "flow"},
            r"audio.input.kind is spectrogram, which reads what the data stores of audio, got flow",
        ),
        (
            {"modalities.audio.input.steps": "9999"},
            r"modalities.audio.input: steps is at most the 1723 that are stored, got 9999; store",
        ),
        (
            {"data.stored.text": FEATURES.replace("8", "9"), "modalities.text": FROZEN},
            r"modalities.text.encoder: frozen needs features of size=8 entries, got \(9,\)",
        ),
        (
            {"modalities.visual.encoder": '{"kind": "frozen", "size": 8}'},
            r"modalities.visual.encoder: frozen needs features of size=8 entries, got",
        ),
        (
            {
                "data.stored.text": FEATURES,
                "modalities.text": RESNET,
            },
            r"text.encoder: resnet18 needs pictures .* got shape \(8,\); for features use frozen",
        ),
        (
            {"data.stored.text": FEATURES, "modalities.text": FROZEN, "method.kind": "ogm"},
            r"method.kind=ogm changes the gradients of encoders, and those of text are frozen",
        ),
        ({"data.stored.audio.rate": "0"}, r"data.stored.audio.rate: .*greater than 0, got 0"),
        (
            {"data.stored.text": '{"kind": "tokens"}'},
            r"data\.stored\.text\.kind: .*features, .*got 'tokens'",
        ),
    ],
)
def test_encoders_that_cannot_read_what_is_stored(overrides, message):
    with pytest.raises(ConfigError, match=message):
        override(CLIPS, overrides)


def test_text_as_features_beside_sound_and_pictures():
    config = override(CLIPS, {"data.stored.text": FEATURES, "modalities.text": FROZEN})
    assert list(config.modalities) == ["audio", "visual", "text"]


def test_experiment_files(tmp_path):
    assert load_experiment(None) == Config()
    path = tmp_path / "recipe.py"
    path.write_text(
        "from tcmax_jax.training.config import Config\ndef config():\n    return Config(seed=4)\n"
    )
    assert load_experiment(str(path)).seed == 4
    with pytest.raises(ConfigError, match=r"config\(\), got 'nowhere.py', which is neither"):
        load_experiment("nowhere.py")
    path.write_text("x = 1\n")
    with pytest.raises(ConfigError, match=r"function config\(\) that returns a Config, got None"):
        load_experiment(str(path))
    path.write_text(
        "from tcmax_jax.training.config import Config\ndef config():\n    return Config(seed=-1)\n"
    )
    with pytest.raises(
        ConfigError, match=r"recipe.py: Expected seed: integer >= 0 and < 4294967296, got -1\."
    ):
        load_experiment(str(path))
    path.write_text(
        "from tcmax_jax.training.config import Training\ndef config():\n    return Training()\n"
    )
    with pytest.raises(ConfigError, match=r"that returns a Config, got Training"):
        load_experiment(str(path))
