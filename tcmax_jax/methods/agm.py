"""AGM: adaptive gradient modulation (Li et al., ICCV 2023, arXiv 2308.07686)."""

import itertools
import math
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax import lax

from tcmax_jax.methods.base import (
    Loss,
    Method,
    Windowed,
    cross_entropy,
    follow,
    joint_logits,
    mean_of_others,
)
from tcmax_jax.models.fusion import AdditiveFusion, Fusion
from tcmax_jax.section import CountOrZero, Positive, section

_LARGEST_EXPONENT = 10.0
_LEAST_PROBABILITY = 1e-8


@section
class AGM(Windowed):
    """Joint training that scales the gradient through each modality's own response.

      F = sum_m r_m
      s_m = -mean_i log max(softmax(r_m,i)[y_i], 1e-8)
      t_m = exp(mean_{w != m} s_w - s_m),  T_m the same of running means S
      kappa_m = exp(alpha min(T_m - t_m, 10))

    The gradient that flows through r_m is multiplied by kappa_m while the epoch lies in the window;
    S is the mean of s over all steps before. The prediction is softmax F.

    Attributes:
      alpha: strength; 1 in the authors' code (2.5 in its README; 1.5 for CREMA-D, its issue 5).
      response: r_m is modality m's Shapley value in F, other modalities' inputs being zero; works
        with any head. "split" takes the additive head's own part f_m, as the PyTorch TCMax
        repository does, at no extra cost.
      first_epoch: first epoch of the window, from 0; 0 there.
      last_epoch: last epoch of the window; 20 there.
      clip: global norm to which gradients are clipped in steps where an entry of the head's
        gradient exceeds it, 1 there; None for never.

    Differs from the official code in:
      1. Any number of modalities: Shapley values with F(nothing) = 0, and the mean of the others'
         scores; two of them as in the paper.
      2. `clip` looks at the size of an entry (its MOSEI script at the largest signed entry), and
         None turns it off.
      3. Accuracies of single modalities are those of the parts or of probes (there, what is printed
         for the sound of CREMA-D counts the pictures).
      4. `split`, which the official code does not have, multiplies what flows through f_m, the
         head's part included, and keeps S up to date outside the window; the PyTorch TCMax
         repository multiplies all gradients of the encoder alone, and S rests outside.
    """

    kind: Literal["agm"] = "agm"
    alpha: Positive = 1.0
    response: Literal["shapley", "split"] = "shapley"
    first_epoch: CountOrZero = 0
    last_epoch: CountOrZero = 20
    clip: Positive | None = 1.0

    @property
    def heads(self):
        """Additive heads for `response="split"`, otherwise any head."""
        return AdditiveFusion if self.response == "split" else Fusion

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`."""
        responses = {"shapley": shapley_responses, "split": _own_parts}

        def init(sizes):
            zeros = {m: jnp.zeros((), jnp.float32) for m in sizes.features}
            return {"scores": zeros, "steps": jnp.zeros((), jnp.int32)}

        def loss(forward, state):
            parts = responses[self.response](forward)
            scores = {m: forward.mean(_clipped_loss(r, forward.labels)) for m, r in parts.items()}
            scores = lax.stop_gradient(scores)
            kappa = agm_coefficients(scores, state["scores"], self.alpha)
            inside = forward.within(self.first_epoch, self.last_epoch)
            kappa = {m: jnp.where(inside, x, 1.0) for m, x in kappa.items()}
            logits = sum(scale_gradient(r, kappa[m]) for m, r in parts.items())
            steps = state["steps"] + 1
            means = {m: s + (scores[m] - s) / steps for m, s in state["scores"].items()}
            metrics = {f"coefficient/{m}": x for m, x in kappa.items()}
            values = cross_entropy(logits, forward.labels)
            return Loss(values, metrics, {"scores": means, "steps": steps})

        rule = None if self.clip is None else clip_by_largest(self.clip, group="head")
        return follow(loss, joint_logits, rule, init=init)


def agm_coefficients(scores: Mapping, running: Mapping, alpha: float) -> dict:
    """Returns kappa_m = exp(alpha min(T_m - t_m, 10)), see `agm`.

    Args:
      scores: {modality: s_m} of this batch, nats.
      running: {modality: S_m}, their running means.
      alpha: strength.
    """

    def discrepancies(s):
        others = mean_of_others(s)
        return {m: jnp.exp(others[m] - s[m]) for m in s}

    now, so_far = discrepancies(scores), discrepancies(running)
    return {m: jnp.exp(alpha * jnp.minimum(so_far[m] - now[m], _LARGEST_EXPONENT)) for m in now}


def shapley_responses(forward) -> dict:
    """Returns each modality's Shapley value in the joint logits, {modality: [B, C]}.

      r_m = sum_{S without m} |S|! (M - |S| - 1)! / M! [F(S and m) - F(S)],  F(nothing) = 0

    F(S) has the inputs of all other modalities set to zero, and but for F of all modalities the
    running batch statistics. The values sum to F of all modalities.

    Args:
      forward: a `tcmax_jax.methods.Forward` with `inputs` and `encode`.
    """
    present = forward.encode(forward.inputs)
    absent = forward.encode(jax.tree.map(lambda x: jnp.zeros_like(x[:1]), forward.inputs))
    absent = {m: jnp.broadcast_to(z, present[m].shape) for m, z in absent.items()}
    names = tuple(forward.features)

    def value(subset):
        if not subset:
            return 0.0
        if len(subset) == len(names):
            return forward.head(forward.features)
        return forward.head({m: present[m] if m in subset else absent[m] for m in names})

    subsets = itertools.chain.from_iterable(
        itertools.combinations(names, size) for size in range(len(names) + 1)
    )
    values = {frozenset(s): value(s) for s in subsets}
    responses = {}
    for m in names:
        without = [s for s in values if m not in s]
        responses[m] = sum(
            math.factorial(len(s))
            * math.factorial(len(names) - len(s) - 1)
            / math.factorial(len(names))
            * (values[s | {m}] - values[s])
            for s in without
        )
    return responses


def scale_gradient(x, factor):
    """Returns `x`, with the gradient that flows through it multiplied by `factor`."""
    return x * factor + lax.stop_gradient(x * (1 - factor))


def clip_by_largest(limit: float, group: str) -> optax.GradientTransformation:
    """Clips the global norm to `limit` if an entry of a group's gradient exceeds that.

    Args:
      limit: the threshold, and the norm.
      group: key of the first level of the gradients whose entries are looked at.
    """

    def update(grads, state, params=None, **extra):
        del params, extra
        largest = jnp.max(jnp.stack([jnp.max(jnp.abs(g)) for g in jax.tree.leaves(grads[group])]))
        norm = optax.tree.norm(grads)
        scale = jnp.where((largest > limit) & (norm > limit), limit / jnp.maximum(norm, limit), 1.0)
        return optax.tree.scale(scale, grads), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _own_parts(forward):
    return forward.head.modality_logits(forward.features)


def _clipped_loss(logits, labels):
    return jnp.minimum(cross_entropy(logits, labels), -math.log(_LEAST_PROBABILITY))
