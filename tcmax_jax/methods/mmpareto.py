"""MMPareto: Pareto-integrated gradients (Wei and Hu, ICML 2024, arXiv 2405.17730)."""

import functools
from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from tcmax_jax.methods.base import (
    Method,
    MethodOptions,
    Step,
    Turn,
    cross_entropy,
    encoder_group,
    joint_logits,
)
from tcmax_jax.models.fusion import ConcatUnimodalHead
from tcmax_jax.section import Positive, section

_LEAST_SHARE = 0.001


@section
class MMPareto(MethodOptions):
    """Joint and unimodal training, whose gradients are combined without conflict.

    loss = CE(F(z)) + sum_m CE(o_m(z_m)), with unimodal classifiers o_m beside the joint head
    (fusion concat_msh). The encoders' gradients of the two losses are joined by `pareto`; heads
    take the plain sum. The prediction is softmax F.

    Attributes:
      gamma: final scale of the joined gradient; 1.5, fixed, in the authors' code.

    Differs from the official code in:
      1. Two pulls back through the encoders for any number of modalities (there one for each loss
         and one more for their sum).
      2. The share c is kept within 0.001 .. 0.999 throughout (there only if one gradient is zero,
         so that of two gradients of very different lengths the longer one may have less).
      3. An array whose h is zero stays zero (there: NaN, unless g + u is zero too).
      4. The learning rate follows its schedule (there the schedule is made and never advanced).
    """

    kind: Literal["mmpareto"] = "mmpareto"
    gamma: Positive = 1.5

    heads: ClassVar = ConcatUnimodalHead
    changes_encoder_gradients: ClassVar = True

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`."""
        rule = pareto([encoder_group(m) for m in modalities], self.gamma)

        def turn(step: Step, params, state) -> Turn:
            def joint_loss(params, features):
                forward = step.forward(params, features)
                logits = forward.head(features)
                metrics = forward.metrics(logits)
                return forward.mean_loss(cross_entropy(logits, forward.labels)), metrics

            def unimodal_loss(params, features):
                forward = step.forward(params, features)
                parts = step.model.apply({"params": params}, features, method="unimodal_logits")
                losses = sum(cross_entropy(z, forward.labels) for z in parts.values())
                return forward.mean_loss(losses)

            features, pull, batch_stats = jax.vjp(step.encode, params, has_aux=True)
            both = jax.value_and_grad(joint_loss, (0, 1), has_aux=True)(params, features)
            (joint, metrics), (joint_heads, joint_cotangents) = both
            unimodal, unimodal_grads = jax.value_and_grad(unimodal_loss, (0, 1))(params, features)
            joint_grads = jax.tree.map(jnp.add, joint_heads, *pull(joint_cotangents))
            unimodal_grads = jax.tree.map(jnp.add, unimodal_grads[0], *pull(unimodal_grads[1]))
            joint_grads, unimodal_grads, batch_stats = step.reduce(
                (joint_grads, unimodal_grads, batch_stats)
            )
            grads, _ = rule.update(joint_grads, rule.init(params), params, unimodal=unimodal_grads)
            return Turn(
                grads, batch_stats, state, joint + unimodal, metrics | {"loss/own": unimodal}
            )

        return Method(predict=joint_logits, loss=None, turns=(turn,))


def pareto(groups: Sequence[str], gamma: float = 1.5) -> optax.GradientTransformationExtraArgs:
    """Combines two gradients of each group of parameters without conflict.

    With g the gradient of the joint loss and u that of the unimodal losses, which the update takes
    as `unimodal`, both over the whole group as one vector:

      (a, b) = (1/2, 1/2) if <g, u> > 0, otherwise (c, 1 - c), the point of least norm on g .. u:
      c = <u - g, u> / |g - u|^2, kept within 0.001 .. 0.999
      h = 2 a g + 2 b u,  h <- gamma h max(1, |g + u| / |h|), array by array

    Groups that are not named get g + u.

    Args:
      groups: keys of the first level of the gradients.
      gamma: final scale.

    Source: MMPareto and its official code.

    Example:
      >>> rule = pareto(["encoder"], gamma=1.0)
      >>> g, u = {"encoder": jnp.array([1.0, 0.0])}, {"encoder": jnp.array([-1.0, 1.0])}
      >>> h = rule.update(g, rule.init(g), unimodal=u)[0]["encoder"]
      >>> print(f"{h[0]:.3f} {h[1]:.3f}")
      0.447 0.894
    """

    def update(grads, state, params=None, *, unimodal, **extra):
        del params, extra
        joined = jax.tree.map(jnp.add, grads, unimodal)
        for name in groups:
            join = functools.partial(_join, *_weights(grads[name], unimodal[name]), gamma)
            joined[name] = jax.tree.map(join, grads[name], unimodal[name])
        return joined, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _weights(g, u):
    conflict = optax.tree.vdot(g, u) <= 0
    gap = optax.tree.sub(u, g)
    squared = optax.tree.vdot(gap, gap)
    c = optax.tree.vdot(gap, u) / jnp.where(squared > 0, squared, 1.0)
    c = jnp.where(conflict, jnp.clip(c, _LEAST_SHARE, 1 - _LEAST_SHARE), 0.5)
    return c, 1 - c


def _join(a, b, gamma, g, u):
    h = 2 * a * g + 2 * b * u
    length, wanted = jnp.linalg.norm(h), jnp.linalg.norm(g + u)
    grow = wanted / jnp.where(length > 0, length, 1.0)
    return gamma * h * jnp.maximum(1.0, grow)
