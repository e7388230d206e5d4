"""Random parameters, since heads start at zero and zeros hide mistakes."""

import jax
import numpy as np


def randomised(params, seed=0):
    """Returns `params` with every leaf replaced by normal noise of its own."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)
