"""OGM and OGM-GE: on-the-fly gradient modulation (Peng et al., CVPR 2022, arXiv 2203.15332)."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from tcmax_jax.methods.base import (
    Loss,
    Method,
    Windowed,
    cross_entropy,
    encoder_group,
    follow,
    joint_logits,
    label_scores,
    ratio_to_others,
)
from tcmax_jax.models.fusion import AdditiveFusion
from tcmax_jax.section import CountOrZero, Positive, section

_SMALLEST_RANK = {"kernels": 2, "all": 0}


@section
class OGM(Windowed):
    """Joint training that slows the encoder of the dominant modality, for additive heads.

      s_m = sum_i softmax(f_m(z_m,i))[y_i],  rho_m = s_m / mean_{w != m} s_w
      k_m = 1 - tanh(alpha rho_m) if rho_m > 1, else 1
      g_m <- k_m g_m, and in `OGMGE` + N(0, std(g_m)^2)

    for the gradients g_m of modality m's encoder, while the epoch lies in the window; the head
    learns undisturbed. The prediction is softmax F.

    Attributes:
      alpha: strength; 0.8 for CREMA-D, 0.1 for VGGSound (the authors' README).
      first_epoch: first epoch of the window, from 0; 0 in the authors' code.
      last_epoch: last epoch of the window; 50 (of 100) in the authors' code.
      reach: "kernels" modulates arrays of rank 2 and more, "all" normalisation and biases too.

    Differs from the official code in:
      1. Any number of modalities, by the mean of the others' scores; two of them as in the paper.
      2. Kernels are found by rank 2 and more, not 4 alone, so that dense encoders are reached; for
         a ResNet the two are the same.
      3. Both parts of the head `sum` have their whole bias, so that they sum to F (there half of
         it in the scores).
    """

    kind: Literal["ogm"] = "ogm"
    alpha: Positive = 0.8
    first_epoch: CountOrZero = 0
    last_epoch: CountOrZero = 50
    reach: Literal["kernels", "all"] = "kernels"

    noise: ClassVar = False
    heads: ClassVar = AdditiveFusion
    changes_encoder_gradients: ClassVar = True

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`."""

        def loss(forward, state):
            logits = forward.head(forward.features)
            values = cross_entropy(logits, forward.labels)
            parts = forward.head.modality_logits(forward.features)
            scores = jax.lax.stop_gradient(label_scores(forward, parts))
            inside = forward.within(self.first_epoch, self.last_epoch)
            k = {
                m: jnp.where(inside, x, 1.0)
                for m, x in ogm_coefficients(scores, self.alpha).items()
            }
            args = {
                "coefficients": {encoder_group(m): x for m, x in k.items()},
                "noise_scale": inside * float(self.noise),
                "key": forward.key,
            }
            metrics = {f"coefficient/{m}": x for m, x in k.items()}
            return Loss(values, metrics, state, rule_args=args, scores=logits)

        rule = modulate(lambda leaf: leaf.ndim >= _SMALLEST_RANK[self.reach], noise=self.noise)
        return follow(loss, joint_logits, rule)


@section
class OGMGE(OGM):
    """`OGM` with generalisation enhancement (GE): noise on the modulated gradients.

    It makes up for the noise that the gradient has lost, with the scale of the gradient before
    modulation, as in the authors' code.
    """

    kind: Literal["ogm_ge"] = "ogm_ge"
    noise: ClassVar = True


def ogm_coefficients(scores: Mapping[str, jax.Array], alpha: float) -> dict:
    """Returns k_m = 1 - tanh(alpha rho_m) where rho_m = s_m / mean_{w != m} s_w > 1, else 1.

    Args:
      scores: {modality: s_m}, positive scalars.
      alpha: strength.
    """
    return {
        m: jnp.where(rho > 1, 1 - jnp.tanh(alpha * rho), 1.0)
        for m, rho in ratio_to_others(scores).items()
    }


def modulate(
    reaches: Callable = lambda leaf: True, *, noise: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Scales the gradients of groups of parameters, g <- k g, with optional noise of their scale.

    With `noise`, g <- k g + noise_scale std(g) n, n ~ N(0, 1), with std over the array's entries
    (unbiased). The update takes `coefficients`, {group: scalar k}, the groups being keys of the
    first level of the parameters (others stay as they are); and with noise `key` and `noise_scale`.

    Args:
      reaches: function of an array of the gradient that says whether it is changed.
      noise: whether to add noise.

    Example:
      >>> rule = modulate()
      >>> grads = {"encoder": jnp.ones(2), "head": jnp.ones(2)}
      >>> updates, _ = rule.update(grads, rule.init(grads), coefficients={"encoder": 0.5})
      >>> print(updates["encoder"], updates["head"])
      [0.5 0.5] [1. 1.]
    """

    def update(grads, state, params=None, *, coefficients, noise_scale=1.0, key=None, **extra):
        del params, extra
        groups = dict(grads)
        for number, name in enumerate(sorted(coefficients)):
            leaves, tree = jax.tree.flatten(groups[name])
            group_key = jax.random.fold_in(key, number) if noise else None
            for i, g in enumerate(leaves):
                if not reaches(g):
                    continue
                leaves[i] = coefficients[name] * g
                if noise and g.size > 1:
                    n = jax.random.normal(jax.random.fold_in(group_key, i), g.shape, g.dtype)
                    leaves[i] += noise_scale * jnp.std(g, ddof=1) * n
            groups[name] = tree.unflatten(leaves)
        return groups, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
