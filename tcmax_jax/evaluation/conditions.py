"""Harder conditions than those of training: a modality is missing, or noisy.

A condition has a name: "without/<a>+<b>" where modalities a and b are missing, and
"noise/<a>=<strength>" where noise lies on modality a.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tcmax_jax.losses import AdditiveHead

# How many examples stand in for what is missing, in heads that couple the modalities.
_STAND_INS = 64


def scores_without(method, head, features: Mapping, dropped: Collection[str]):
    """Returns scores of the fused prediction from all other modalities.

    The parts of the missing modalities leave an additive head's sum, as if their classifiers said
    nothing, and the method's own rule predicts from the rest. Any other head needs a feature of
    each modality: there the prediction is the mean over those that it makes with features of
    the split in place of the missing ones,

      p_i = mean_k softmax(predict(z_i with z_i[dropped] = z_k[dropped])),

    with k over at most 64 examples, evenly spaced in the split.

    Args:
      method: a `tcmax_jax.methods.Method`, which predicts.
      head: the classifier's head, see `tcmax_jax.models.head_of`.
      features: {modality: [N, D]}.
      dropped: names of modalities.

    Returns:
      [N, C]; softmax of them is the prediction.

    Raises:
      ValueError: an unknown modality, or none that is left to predict from.
    """
    unknown = sorted(set(dropped) - set(features))
    kept = _kept(method, features, dropped)
    if unknown or not kept:
        raise ValueError(
            f"Expected to drop some of the modalities {', '.join(features)} and to keep one that "
            f"the method trains, got {', '.join(dropped)}."
        )
    if isinstance(head, AdditiveHead):
        return method.predict(
            AdditiveHead(lambda z: {m: x for m, x in head.modality_logits(z).items() if m in kept}),
            features,
        )
    n = len(next(iter(features.values())))
    rows = np.arange(0, n, -(-n // _STAND_INS))

    def predict(row):
        instead = {m: jnp.broadcast_to(features[m][row], features[m].shape) for m in dropped}
        return jax.nn.log_softmax(method.predict(head, {**features, **instead}))

    features = {m: jnp.asarray(z) for m, z in features.items()}
    return jax.nn.logsumexp(jax.lax.map(predict, rows), axis=0) - np.log(len(rows))


def missing(method, features: Mapping) -> list[tuple[str, ...]]:
    """Returns the modalities without which a method can still predict, each one by itself."""
    return [(m,) for m in features if _kept(method, features, (m,))]


def _kept(method, features, dropped):
    return [m for m in features if m not in dropped and m in (method.modalities or features)]


def name_without(dropped: Collection[str]) -> str:
    """Returns the name of the condition in which modalities are missing."""
    return f"without/{'+'.join(sorted(dropped))}"


def name_noise(modality: str, strength: float) -> str:
    """Returns the name of the condition in which noise lies on a modality."""
    return f"noise/{modality}={strength:g}"


def noisy_views(batches: Iterable[Mapping], strengths: Sequence[float]) -> Iterator[dict]:
    """Yields batches whose inputs are {0.0: as they are, strength: with noise on all modalities}.

      x'_i = x_i + strength * std(x_i) * n_i,  n_i standard normal in each entry

    with the standard deviation over all entries of the example's own input; integer inputs are
    rounded and kept in the range of their type. n_i depends on the modality and on the example's
    index alone: neither batches nor processes change it, and all strengths share it.

    Args:
      batches: with "inputs" {modality: [B, ...]} and "index" [B].
      strengths: of the noise, in standard deviations.
    """
    for batch in batches:
        clean = batch["inputs"]
        noise = {
            m: _noise(number, batch["index"], np.shape(clean[m]))
            for number, m in enumerate(sorted(clean))
        }
        views = {0.0: clean} | {
            s: {m: _add(np.asarray(x), s * noise[m]) for m, x in clean.items()} for s in strengths
        }
        yield {**batch, "inputs": views}


def _noise(number, indices, shape):
    return np.stack([
        np.random.default_rng((number, int(index))).standard_normal(shape[1:], np.float32)
        for index in indices
    ])  # fmt: skip


def _add(x, noise):
    wide = x.astype(np.float32)
    spread = wide.std(axis=tuple(range(1, x.ndim)), keepdims=True)
    noisy = wide + spread * noise
    if np.issubdtype(x.dtype, np.integer):
        limits = np.iinfo(x.dtype)
        noisy = np.clip(np.rint(noisy), limits.min, limits.max)
    return noisy.astype(x.dtype)
