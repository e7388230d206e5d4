"""What a trained classifier is used for."""

from pathlib import Path

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.training import export as exports
from tcmax_jax.training import predict as predictions
from tcmax_jax.training import workdir as workdirs
from tcmax_jax.training.config.overrides import override
from tcmax_jax.training.processes import say


def predict(options: Options) -> Outcome:
    """Predicts a list of new clips."""
    config = _checked(options)
    prediction = predictions.predict_file(
        Path(options.workdir),
        Path(options.clips),
        Path(options.predictions),
        allow_skipped=options.allow_skipped,
        outside_paths=getattr(config.data, "outside_paths", False),
        recalibrated=options.recalibrated,
    )
    text = predictions.prediction_text(prediction)
    return Outcome(f"{text}\nwritten to {options.predictions}")


def export(options: Options) -> Outcome:
    """Writes the classifier as files that are used without this project."""
    _checked(options)
    say(f"exporting the classifier for {', '.join(exports.PLATFORMS)} ...")
    exports.export(Path(options.workdir), Path(options.export), recalibrated=options.recalibrated)
    return Outcome(f"written to {options.export}: {', '.join(exports.FILES)}")


def _checked(options):
    """Returns the configuration of the run, with fields that change no number replaced."""
    workdir = Path(options.workdir)
    config = override(workdirs.stored_config(workdir), options.fields)
    workdirs.check(workdir, config)
    return config
