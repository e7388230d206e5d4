"""The interface of a training method: what it reads, what it returns, how it updates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from tcmax_jax.losses import marginal_logits, masked_mean
from tcmax_jax.losses.collectives import all_sum
from tcmax_jax.models import head_of
from tcmax_jax.models.fusion import Fusion
from tcmax_jax.section import Family, SectionError, section

# What the step's key is folded with for dropout; methods draw from the key itself.
_DROPOUT = 0x64726F70


class Forward(NamedTuple):
    """One forward pass of a batch: all that a loss may read. Only the first three are required.

    Attributes:
      head: what `tcmax_jax.models.head_of` returns.
      features: {modality: [B, D]}.
      labels: [B] integers.
      where: [B] bool, False for padding, which must not act on other rows; None for no padding.
      index: [B] int32, the examples' stable numbers in the training split.
      key: PRNG key of the step, the same on every device.
      progress: epochs so far, a float; its whole part is the number of the epoch from 0.
      axis_name: the mapped axis that holds the rest of the batch.
      weights: [B] of the examples' losses; None where all count the same.
      inputs: {modality: [B, ...]}, what was encoded.
      encode: function inputs -> features with the running batch statistics.
    """

    head: Callable
    features: Mapping[str, jax.Array]
    labels: jax.Array
    where: Any = None
    index: Any = None
    key: Any = None
    progress: Any = 0.0
    axis_name: str | None = None
    weights: Any = None
    inputs: Any = None
    encode: Callable | None = None

    def mean(self, values):
        """Returns the mean of [B] values over the valid rows of all devices."""
        return masked_mean(values, where=self.where, axis_name=self.axis_name)

    def mean_loss(self, values):
        """Returns sum_i w_i v_i / sum_i w_i over the valid rows of all devices, w the weights."""
        if self.weights is None:
            return self.mean(values)
        return self.mean(self.weights * values) / jnp.maximum(self.mean(self.weights), 1e-12)

    def sum(self, values):
        """Returns the sum of [B, ...] values over the valid rows of all devices, [...]."""
        if self.where is not None:
            mask = self.where.reshape(-1, *[1] * (values.ndim - 1))
            values = jnp.where(mask, values, 0)
        return all_sum(jnp.sum(values, axis=0), self.axis_name)

    def metrics(self, scores):
        """Returns the metrics of a prediction, softmax(scores) of [B, C], by name.

        "accuracy", and "cross_entropy" in nats, which compares methods whose losses differ.
        """
        hits, losses = correct(scores, self.labels), cross_entropy(scores, self.labels)
        return {"accuracy": self.mean(hits), "cross_entropy": self.mean(losses)}

    def within(self, first_epoch, last_epoch):
        """Returns whether the epoch, counted from 0, lies between two, both included."""
        return (self.progress >= first_epoch) & (self.progress < last_epoch + 1)


class Loss(NamedTuple):
    """The result of a loss.

    Attributes:
      values: [B], per-example losses in nats; those of padding are left out by the caller.
      metrics: {name: scalar} to log, the same on every device.
      state: the method's next state, the same on every device.
      floor: a number below the mean loss, which it cannot soon fall below, for the bound on steps;
        None for no bound.
      rule_args: {name: value}, extra arguments of the method's gradient rule.
      scores: [B, C], those by which the method predicts; None where the loss does not have them.
    """

    values: jax.Array
    metrics: Mapping[str, Any] = {}
    state: Any = ()
    floor: Any = None
    rule_args: Mapping[str, Any] = {}
    scores: Any = None


class Sizes(NamedTuple):
    """The sizes on which the state of a method may depend.

    Attributes:
      features: {modality: D}.
      num_classes: number of classes.
      num_examples: number of training examples.
    """

    features: Mapping[str, int]
    num_classes: int
    num_examples: int


class Step(NamedTuple):
    """What a turn may read, apart from parameters and the method's state.

    Attributes:
      model: a `MultimodalClassifier`.
      batch_stats: running statistics of batch normalisation before the step.
      batch: this device's part of a batch, see `tcmax_jax.data.pipeline`.
      key: PRNG key of the step, the same on every device.
      progress: epochs so far, a float.
      accumulate: parts in which the batch is encoded one after the other.
      axis_name: the mapped axis over devices.
    """

    model: Any
    batch_stats: Any
    batch: Mapping[str, Any]
    key: Any
    progress: Any
    accumulate: int = 1
    axis_name: str | None = None

    def encode(self, params):
        """Returns (features, updated batch_stats) of the batch, in training mode.

        With `accumulate` the activations of one part at a time are held, and computed again for the
        gradient. Losses see the features of the whole batch, so their gradients stay exact; only
        batch normalisation sees its part alone, and its statistics are means over the parts.
        """
        variables = {"params": params, "batch_stats": self.batch_stats}
        key = jax.random.fold_in(self.key, _DROPOUT)
        if self.axis_name is not None:
            key = jax.random.fold_in(key, lax.axis_index(self.axis_name))

        def encode(part):
            inputs, key = part
            features, updated = self.model.apply(
                variables,
                inputs,
                True,
                method="encode",
                mutable=["batch_stats"],
                # Modules that draw from other streams fall back to that of "params".
                rngs={"dropout": key, "params": jax.random.fold_in(key, 1)},
            )
            return features, updated.get("batch_stats", {})

        if self.accumulate == 1:
            return encode((self.batch["inputs"], key))
        parts = jax.tree.map(
            lambda x: x.reshape(self.accumulate, -1, *x.shape[1:]), self.batch["inputs"]
        )
        keys = jax.random.split(key, self.accumulate)
        features, batch_stats = lax.map(jax.checkpoint(encode), (parts, keys))
        return (
            jax.tree.map(lambda z: z.reshape(-1, *z.shape[2:]), features),
            jax.tree.map(lambda x: jnp.mean(x, axis=0), batch_stats),
        )

    def forward(self, params, features) -> Forward:
        """Returns the `Forward` that losses read, for features returned by `encode`."""
        variables = {"params": params, "batch_stats": self.batch_stats}
        return Forward(
            head=head_of(self.model, params),
            features=features,
            labels=self.batch["label"],
            where=self.batch["where"],
            index=self.batch["index"],
            key=self.key,
            progress=self.progress,
            axis_name=self.axis_name,
            weights=self.batch.get("weight"),
            inputs=self.batch["inputs"],
            encode=lambda inputs: self.model.apply(variables, inputs, False, method="encode"),
        )

    def reduce(self, tree):
        """Returns the mean of a tree over the devices, such as the gradients of the global loss."""
        return tree if self.axis_name is None else lax.pmean(tree, self.axis_name)


class Turn(NamedTuple):
    """The result of one turn; the same on every device.

    Attributes:
      grads: {parameter group: gradients}, the groups being the first level of the parameters;
        groups that are left out rest, with all that the optimiser remembers of them.
      batch_stats: {group: statistics}, of those groups that the turn updates.
      state: the method's next state.
      loss: mean loss of the global batch, nats.
      metrics: {name: scalar}.
      gap: loss less its floor; infinite without one.
    """

    grads: Mapping[str, Any]
    batch_stats: Any
    state: Any
    loss: Any
    metrics: Mapping[str, Any]
    gap: Any = jnp.inf


def joint_logits(head, features):
    """Returns the head's logits [B, C], the prediction rule of most methods."""
    return head(features)


def mean_posterior(predict, head, features, bank, known):
    """Returns [B, C], the log of the mean of softmax(predict) over the missing modalities' rows.

    For methods that train softmax(predict) by cross-entropy, which leaves a constant of each
    example open; see `tcmax_jax.losses.marginal_logits`.
    """
    fused = head if predict is joint_logits else lambda z: predict(head, z)
    return marginal_logits(fused, features, bank, known, normalize=True)


def known_parts(predict, head, features, bank, known):
    """Returns [B, C], the prediction from an additive head's parts of the known modalities.

    For methods that train each part as a classifier of its own, offsets included.
    """
    del bank
    return predict(head.only(known), features)


class Method(NamedTuple):
    """A training method: pure functions, and a state that is a pytree of arrays.

    Attributes:
      predict: `(head, features) -> [B, C]`, scores whose softmax is the prediction.
      loss: `(forward, state) -> Loss`, what is minimised; None for methods that take turns at
        more than one.
      turns: `(step, params, state) -> Turn` each. A step of training goes through them, with an
        update of the parameters after each one.
      init: `sizes -> state`.
      begin_epoch: `(state, features, labels) -> state`, called before each epoch with the features
        of some training examples, see `epoch_share`; None for methods without.
      epoch_share: share of the training examples that `begin_epoch` sees.
      label_prior: [C] reference measure of the label under which the head is a critic; None for
        the uniform one.
      modalities: names of those that it trains; None for all.
      marginal: `(predict, head, features, bank, known) -> [B, C]`, scores of the prediction from
        the modalities `known` alone. It follows from what the method makes of its logits; `bank`
        holds features {modality: [N, D]} of all modalities to average over.
    """

    predict: Callable
    loss: Callable | None
    turns: Sequence[Callable]
    init: Callable = lambda sizes: ()
    begin_epoch: Callable | None = None
    epoch_share: float = 0.0
    label_prior: jax.Array | None = None
    modalities: Sequence[str] | None = None
    marginal: Callable = mean_posterior


@section
class MethodOptions(Family):
    """Base of the options of methods, and their interface.

    Attributes:
      heads: base class of the heads that it can train.
      changes_encoder_gradients: whether it differs from joint training only in the gradients of the
        encoders, so that it has no use for frozen ones.
      equal_features: whether the features of all modalities need one size.
    """

    heads: ClassVar[type] = Fusion
    changes_encoder_gradients: ClassVar[bool] = False
    equal_features: ClassVar[bool] = False

    def make(self, modalities: Sequence[str] = (), label_prior=None) -> Method:
        """Returns the method as functions.

        Args:
          modalities: their names; needed by methods that train one after the other.
          label_prior: [C] frequencies of the classes in training, for methods whose option
            `label_prior` is "empirical"; None for all others.
        """
        raise NotImplementedError


@section
class Windowed(MethodOptions):
    """Base of the options of methods that act only from `first_epoch` to `last_epoch` (from 0)."""

    def check(self):
        """Raises SectionError where the window ends before it begins."""
        if self.first_epoch > self.last_epoch:
            raise SectionError(
                f"Expected first_epoch <= last_epoch, got {self.first_epoch} > {self.last_epoch}. "
                "Both are counted from 0 and belong to the window."
            )


def descend(loss: Callable, predict: Callable, rule=None) -> Callable:
    """Returns a turn that follows the gradient of one loss.

    Args:
      loss: `(forward, state) -> Loss`.
      predict: `(head, features) -> [B, C]`, for the metrics of the batch.
      rule: a stateless optax transformation of the gradients, which gets `Loss.rule_args`. It acts
        on the gradient of the global batch, after its reduction over devices.
    """

    def turn(step: Step, params, state) -> Turn:
        def objective(params):
            features, batch_stats = step.encode(params)
            forward = step.forward(params, features)
            result = loss(forward, state)
            mean = forward.mean_loss(result.values)
            scores = result.scores
            if scores is None:
                scores = predict(forward.head, features)
            metrics = forward.metrics(scores) | result.metrics
            gap = jnp.inf if result.floor is None else mean - result.floor
            out = batch_stats, result.state, mean, metrics, gap
            return mean, (out, result.rule_args)

        grads, (out, rule_args) = jax.grad(objective, has_aux=True)(params)
        grads, batch_stats = step.reduce((grads, out[0]))
        if rule is not None:
            grads, _ = rule.update(grads, rule.init(params), params, **rule_args)
        return Turn(grads, batch_stats, *out[1:])

    return turn


def follow(loss: Callable, predict: Callable, rule=None, **fields) -> Method:
    """Returns a method with one turn, which follows the gradient of `loss`.

    Args:
      loss: as in `descend`.
      predict: as in `descend`.
      rule: as in `descend`.
      **fields: further fields of `Method`.
    """
    turns = (descend(loss, predict, rule),)
    return Method(predict=predict, loss=loss, turns=turns, **fields)


def correct(scores, labels):
    """Returns whether the largest score of each row is the label's, [B] bool; NumPy or JAX."""
    return scores.argmax(axis=-1) == labels


def cross_entropy(logits, labels):
    """Returns -log softmax(logits)[label] for each row, [B] float32."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def label_scores(forward: Forward, logits: Mapping[str, jax.Array]) -> dict:
    """Returns s_m = sum_i softmax(logits_m)[y_i] over the global batch, {modality: scalar}."""
    return {m: forward.sum(jnp.exp(-cross_entropy(z, forward.labels))) for m, z in logits.items()}


def mean_of_others(values: Mapping[str, jax.Array]) -> dict:
    """Returns the mean of all other modalities' values for each modality."""
    # Not from the sum of all: what is left of it is rounded, and three equal values would differ.
    return {m: sum(x for w, x in values.items() if w != m) / (len(values) - 1) for m in values}


def ratio_to_others(scores: Mapping[str, jax.Array]) -> dict:
    """Returns rho_m = s_m / mean_{w != m} s_w for positive scores s."""
    others = mean_of_others(scores)
    return {m: s / jnp.maximum(others[m], 1e-8) for m, s in scores.items()}


def encoder_group(modality: str) -> str:
    """Returns the key of a modality's encoder in the parameters of a classifier."""
    return f"encoders_{modality}"
