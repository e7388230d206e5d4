"""The programs of a run, lowered from shapes alone, without data or working devices."""

import functools

import jax
from flax import linen as nn
from jax.stages import Lowered

from tcmax_jax.methods.base import Loss, Method, follow, joint_logits
from tcmax_jax.models import MultimodalClassifier
from tcmax_jax.training import passes
from tcmax_jax.training.programs import changed
from tcmax_jax.training.setup import Setup
from tcmax_jax.training.step import encode_step, training_key


def lower_training(setup: Setup, rows: int) -> Lowered:
    """Returns the training step for a global batch of a number of rows."""
    return _lower_step(setup, passes.state_shapes(setup), passes.batch_shapes(setup, rows))


def lower_encoding(setup: Setup, rows: int) -> Lowered:
    """Returns the evaluation step, which encodes a global batch of a number of rows."""
    state, over = passes.state_shapes(setup), setup.parallel
    inputs = passes.batch_shapes(setup, rows)["inputs"]
    return setup.programs.encode.lower(over.replicated_shapes(state), over.put_shapes(inputs))


def lower_loss(setup: Setup, rows: int) -> tuple[Lowered, Lowered]:
    """Returns two steps on features, not inputs: with the method's loss, and a trivial one.

    What the first has more than the second is the loss: the second minimises the mean of the
    logits. Both have head, optimiser and metrics, and gradients of the features; those of the
    second the compiler may simplify, so that the loss seems rather more than it is.
    """
    batch = passes.batch_shapes(setup, rows)
    encode = functools.partial(encode_step, model=setup.model)
    features = jax.eval_shape(encode, passes.state_shapes(setup), batch["inputs"])
    batch |= {"inputs": features}
    given = MultimodalClassifier({m: _Given() for m in features}, setup.model.head)

    def lower(method):
        other = changed(setup, model=given, method=method)
        return _lower_step(other, passes.state_shapes(other, features), batch)

    return lower(setup.method), lower(_mean_of_logits())


def _lower_step(setup, state, batch):
    over = setup.parallel
    state, key = over.replicated_shapes((state, training_key(setup.config.seed)))
    return setup.programs.step.lower(state, over.put_shapes(batch), key)


def _mean_of_logits() -> Method:
    def loss(forward, state):
        logits = joint_logits(forward.head, forward.features)
        return Loss(logits.mean(-1), scores=logits)

    return follow(loss, joint_logits)


class _Given(nn.Module):
    """An encoder that returns its input plus a parameter, so that gradients are computed."""

    @nn.compact
    def __call__(self, x, train):
        return x + self.param("offset", nn.initializers.zeros, x.shape[-1:])
