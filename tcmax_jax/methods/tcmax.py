"""TCMax: total correlation maximisation (ICLR 2026, arXiv 2602.13015)."""

from typing import Literal

import jax.numpy as jnp

from tcmax_jax.losses import (
    Adaptive,
    Sampled,
    marginal_logits,
    sampled_tcmax_ceiling,
    tcmax_ceiling,
    tcmax_terms,
)
from tcmax_jax.methods.base import Loss, Method, MethodOptions, follow
from tcmax_jax.section import Count, section


@section
class TCMax(MethodOptions):
    """Training that maximises TC(z_1, .., z_M, y).

    loss_i = -F(z_i, y_i) + log mean_{(j_1 .. j_M), y} exp F((z_1[j_1] .. z_M[j_M]), y), with F =
    head; see `tcmax_jax.losses.tcmax_loss`. The prediction is softmax(F + log label_prior). It logs
    the effective sample size of the partition: near 1, a single tuple carries the gradient.

    Attributes:
      num_negatives: tuples to sample (512 .. 1024 in the paper); None takes all of them, "adaptive"
        as many as a standard error of 0.05 nats of the log-partition takes.
      label_prior: reference measure of the label. With "uniform", softmax F is p(y | z) at the
        optimum; with "empirical" the bound is on the total correlation itself, and prediction adds
        the log of the class frequencies.

    Differs from the official code in:
      1. The constant: -loss is the bound on TC itself, as in its README's formula, which subtracts
         log(|B|^2 |Y|). Its code subtracts log |B| instead: the same gradient, a loss larger by
         log(|B| |Y|).
      2. No [B, B, C] tensor where the head allows it: additive heads sum over each modality by
         itself, multilinear ones are projected once. There it is built for every head.
      3. Log-sum-exp subtracts the largest logit. There exp(x - mean x) overflows once a logit is 89
         above the mean, and a probability that underflows has the logarithm -infinity.
      4. Sampled tuples are stratified by class (there independent), and work with every head (there
         with linear ones only: for others the call takes the head's three outputs for one).
      5. Any number of modalities and devices, masks, and a label prior.
    """

    kind: Literal["tcmax"] = "tcmax"
    num_negatives: Count | Literal["adaptive"] | None = None
    label_prior: Literal["uniform", "empirical"] = "uniform"

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`.

        Args:
          modalities: not looked at.
          label_prior: [C] reference measure of the label, which "empirical" needs.

        Raises:
          ValueError: there is none, or one although the options say uniform.
        """
        if (label_prior is not None) != (self.label_prior == "empirical"):
            raise ValueError(
                "Expected a label_prior, the frequencies of the classes, with TCMax.label_prior="
                f"empirical and without it none, got {self.label_prior} and {label_prior}."
            )

        def loss(forward, state):
            shared = {
                "label_prior": label_prior,
                "where": forward.where,
                "axis_name": forward.axis_name,
            }
            terms = tcmax_terms(
                forward.head,
                forward.features,
                forward.labels,
                negatives=self._negatives(forward.key),
                **shared,
            )
            metrics = {"effective_sample_size": terms.effective_sample_size}
            if self.num_negatives == "adaptive":
                metrics["tuples"] = terms.tuples
            logits, modalities = terms.logits, len(forward.features)
            if self.num_negatives is None:
                ceiling = tcmax_ceiling(forward.labels, modalities, logits.shape[-1], **shared)
            else:
                ceiling = sampled_tcmax_ceiling(
                    logits, forward.labels, terms.log_partition, modalities, **shared
                )
            return Loss(terms.loss, metrics, state, floor=-ceiling, scores=prior_added(logits))

        def prior_added(logits):
            return logits if label_prior is None else logits + jnp.log(label_prior)[None]

        def predict(head, features):
            return prior_added(head(features))

        def marginal(predict, head, features, bank, known):
            return prior_added(marginal_logits(head, features, bank, known))

        return follow(loss, predict, label_prior=label_prior, marginal=marginal)

    def _negatives(self, key):
        match self.num_negatives:
            case None:
                return None
            case "adaptive":
                return Adaptive(key)
            case number:
                return Sampled(number, key)
