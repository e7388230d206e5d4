"""What the recipes of the paper's data sets share, from the paper's section on experiments."""

from tcmax_jax import methods as m
from tcmax_jax.data.inputs import FlowInput, FramesInput, SpectrogramInput
from tcmax_jax.models import ResNetEncoder
from tcmax_jax.models.fusion import Shared
from tcmax_jax.training.config import Comparison, Modality
from tcmax_jax.training.optimizer import SGD, Step

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def sound(steps: int | None) -> Modality:
    """Returns ResNet-18 on a spectrogram of one channel, from scratch.

    Args:
      steps: windows that are cropped at random in training; None keeps all that are stored.
    """
    return Modality(input=SpectrogramInput(steps=steps, standardize=False), encoder=ResNetEncoder())


def pictures() -> Modality:
    """Returns ResNet-18 on frames of 224 x 224, randomly cropped and mirrored in training."""
    return Modality(input=FramesInput(), encoder=ResNetEncoder(**_IMAGENET))


def motion() -> Modality:
    """Returns ResNet-18 on stacked optical flow of 224 x 224.

    The PyTorch TCMax code leaves displacements as they are, in pixels; here an eighth of the stored
    bound is one unit (2.5 pixels of 20), a choice of this project.
    """
    return Modality(input=FlowInput(), encoder=ResNetEncoder(mean=(0.5,), std=(1 / 16,)))


def sgd(*decay_epochs: int) -> SGD:
    """Returns the paper's optimiser, whose rate falls to a tenth at some epochs."""
    schedule = Step(decay_epochs=decay_epochs)
    return SGD(learning_rate=1e-3, schedule=schedule, weight_decay=1e-4)


def comparison() -> Comparison:
    """Returns the compared methods over three seeds, with the hyper-parameters of their authors."""
    return Comparison(
        methods=(
            m.Joint(),
            m.Unimodal(),
            m.TCMax(),
            m.OGMGE(alpha=0.8, last_epoch=50),  # its README, for CREMA-D; its scripts
            m.OPM(base=0.5, strength=0.5, apply_probability=0.7, warmup_epochs=6),  # its code
            m.AGM(alpha=1.0, last_epoch=20),  # its code
            m.QMF(rank_weight=1.0),  # its text-image code
            m.PMR(alpha=1.0, momentum=0.2, last_epoch=100),  # its code
            m.MLA(),  # projection off, as in its published results
            m.MMPareto(gamma=1.5),  # its official code
        ),
        fusions=(Shared(),),
        seeds=(0, 1, 2),
    )
