"""PMR: prototypical modal rebalance (Fan et al., CVPR 2023, arXiv 2211.07089)."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jax import lax

from tcmax_jax.methods.base import (
    Loss,
    Method,
    Windowed,
    cross_entropy,
    follow,
    joint_logits,
    label_scores,
    mean_of_others,
)
from tcmax_jax.section import CountOrZero, Limits, NonNegative, section


@section
class PMR(Windowed):
    """Joint training with a prototype loss for the slow modalities; any head.

      sim_m,i[k] = -|z_m,i - c_m[k]|,  s_m = sum_i softmax(sim_m,i)[y_i]
      loss_i = CE(F(z_i)) + alpha sum_m w_m CE(sim_m,i)
      w_m = clip(mean_{n != m} s_n / s_m - 1, 0, 1)
      c_m[k] <- (1 - momentum) (mean of z_m of class k) + momentum c_m[k], at each epoch

    The prototypes come from a share of the training examples, with running batch statistics. The
    prediction is softmax F.

    Attributes:
      alpha: weight of the prototype losses, 1 in the authors' code.
      momentum: of the prototypes, 0.2 in the authors' code.
      weights: "clip" as in the paper; "binary" (1 where above 0) as in the official code.
      entropy_weight: mu of PER, which subtracts mu times the entropy of softmax(sim) of each
        modality ahead of the others; 0, since no official code has it.
      entropy_epochs: epochs at the start with PER.
      first_epoch: first epoch of the prototype losses, from 0; 0 in the authors' code.
      last_epoch: their last epoch; 100 (of 150) in the authors' code.
      share: of the training examples from which prototypes are computed; 0.1 in the authors' code.

    Differs from the official code in:
      1. Weights as in the paper by default; PER can be had.
      2. A class without examples keeps its prototype; one that never had any takes no part (there:
         NaN).
      3. Momentum acts from the second estimate on (there from the third).
      4. Any number of modalities, by the mean of the others' scores.
      5. Prototypes come from random examples of the training split, not augmented (there from
         batches as augmented for training, for AVE from all of the validation split).
      6. A distance of 0 has a finite gradient (there: NaN).
    The PyTorch TCMax repository has the paper's weights, but drops a prototype loss above 10, never
    uses the momentum, and takes the softmax of PER over the batch; none of that is here.

    State: {"prototypes": {modality: [C, D]}, "seen": [C] bool}.
    """

    kind: Literal["pmr"] = "pmr"
    alpha: NonNegative = 1.0
    momentum: Annotated[float, Limits(ge=0, lt=1)] = 0.2
    weights: Literal["clip", "binary"] = "clip"
    entropy_weight: NonNegative = 0.0
    entropy_epochs: CountOrZero = 0
    first_epoch: CountOrZero = 0
    last_epoch: CountOrZero = 100
    share: Annotated[float, Limits(gt=0, le=1)] = 0.1

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`."""

        def init(sizes):
            c = sizes.num_classes
            prototypes = {m: jnp.zeros((c, d), jnp.float32) for m, d in sizes.features.items()}
            return {"prototypes": prototypes, "seen": jnp.zeros(c, bool)}

        def begin_epoch(state, features, labels):
            old, seen = state["prototypes"], state["seen"]
            counts = jnp.bincount(labels, length=len(seen))
            here = counts > 0
            new = {}
            for m, z in features.items():
                sums = jnp.zeros_like(old[m]).at[labels].add(z)
                means = sums / jnp.maximum(counts, 1)[:, None]
                moved = jnp.where(
                    seen[:, None], (1 - self.momentum) * means + self.momentum * old[m], means
                )
                new[m] = jnp.where(here[:, None], moved, old[m])
            return {"prototypes": new, "seen": seen | here}

        def loss(forward, state):
            seen = state["seen"]
            similarities = {
                m: prototype_logits(z, state["prototypes"][m], seen)
                for m, z in forward.features.items()
            }
            known = seen[forward.labels]
            pulls = {
                m: jnp.where(known, cross_entropy(z, forward.labels), 0.0)
                for m, z in similarities.items()
            }
            scores = lax.stop_gradient(label_scores(forward, similarities))
            others = mean_of_others(scores)
            lag = {m: others[m] / jnp.maximum(s, 1e-8) - 1 for m, s in scores.items()}
            w = {
                m: jnp.clip(x, 0, 1) if self.weights == "clip" else 1.0 * (x > 0)
                for m, x in lag.items()
            }
            inside = forward.within(self.first_epoch, self.last_epoch)
            w = {m: jnp.where(inside, self.alpha * x, 0.0) for m, x in w.items()}
            logits = forward.head(forward.features)
            values = cross_entropy(logits, forward.labels)
            values = values + sum(w[m] * pulls[m] for m in pulls)
            if self.entropy_weight:
                early = forward.progress < self.entropy_epochs
                ahead = {
                    m: jnp.where(early & (x < 0), self.entropy_weight, 0.0) for m, x in lag.items()
                }
                values = values - sum(ahead[m] * _entropy(z) for m, z in similarities.items())
            return Loss(values, {f"weight/{m}": x for m, x in w.items()}, state, scores=logits)

        return follow(
            loss, joint_logits, init=init, begin_epoch=begin_epoch, epoch_share=self.share
        )


def prototype_logits(features, prototypes, seen):
    """Returns -|z_i - c_k|, [B, C], very low where class k has no prototype.

    Args:
      features: [B, D].
      prototypes: [C, D].
      seen: [C] bool, which classes have one.
    """
    gaps = features[:, None].astype(jnp.float32) - prototypes[None]
    # The small constant keeps the gradient finite at a distance of 0.
    distances = jnp.sqrt(jnp.sum(gaps * gaps, axis=-1) + 1e-12)
    return jnp.where(seen[None], -distances, -1e9)


def _entropy(logits):
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
