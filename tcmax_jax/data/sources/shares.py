"""Shares of redundant, unique and synergistic examples, and the information that they imply.

In each example two variables a and v, one a modality, take the values of the C classes; the label y
is uniform. A share of the examples is

    redundant        a = y and v = y             both tell the label
    unique to a      a = y, v uniform            a alone
    unique to v      v = y, a uniform            v alone
    synergistic      a uniform, v = a + y mod C  neither alone, both together

in the sense of the partial information decomposition (Williams and Beer, arXiv 1004.2515). Nothing
in an example says which kind it is. So

    p(a, v | y) = r [a = y] [v = y] + (u_a [a = y] + u_v [v = y] + s [v = a + y mod C]) / C
"""

from typing import NamedTuple

import numpy as np


class Shares(NamedTuple):
    """Shares of examples by which variables determine the label.

    Attributes:
      unique_a: told by the first modality alone.
      unique_v: told by the second modality alone.
      synergy: told by both together, by neither alone.
    """

    unique_a: float = 0.0
    unique_v: float = 0.0
    synergy: float = 0.0

    @property
    def redundancy(self) -> float:
        """Share of examples in which each modality alone determines the label."""
        return 1.0 - sum(self)

    def draw(self, labels: np.ndarray, num_classes: int, rng) -> tuple[np.ndarray, np.ndarray]:
        """Draws (a, v), each int [N], of examples with labels [N]."""
        kind = rng.choice(4, len(labels), p=[self.redundancy, *self])
        free = rng.integers(num_classes, size=len(labels))
        a = np.where(kind >= 2, free, labels)
        v = np.select([kind == 1, kind == 3], [free, (free + labels) % num_classes], labels)
        return a, v

    def joint(self, num_classes: int) -> np.ndarray:
        """Returns p(y, a, v), [C, C, C]."""
        y, a, v = np.indices((num_classes,) * 3)
        both = self.redundancy * ((a == y) & (v == y))
        one = self.unique_a * (a == y) + self.unique_v * (v == y)
        together = self.synergy * (v == (a + y) % num_classes)
        return (both + (one + together) / num_classes) / num_classes

    def information(self, num_classes: int) -> dict[str, float]:
        """Returns the mutual informations, in nats, and the best possible accuracies.

        Of two of the variables, one equals the other with a probability p and is else uniform over
        the other values: their information is log C + p log p + (1 - p) log((1 - p) / (C - 1)).

        Returns:
          {"I(y; a)", "I(y; v)", "I(a; v)", "I(y; a, v)", "I(a; v | y)", "accuracy of a", "accuracy
          of v", "accuracy of both": of the most probable label}.
        """
        r, p = self.redundancy, self.joint(num_classes)
        rest = 1 / num_classes
        a = r + self.unique_a + (self.unique_v + self.synergy) * rest
        v = r + self.unique_v + (self.unique_a + self.synergy) * rest
        equal = r + (self.unique_a + self.unique_v + self.synergy) * rest
        told = {f"I({of})": _symmetric(x, num_classes) for of, x in (("y; a", a), ("y; v", v))}
        told["I(a; v)"] = _symmetric(equal, num_classes)
        told["I(y; a, v)"] = np.log(num_classes) + _entropy(p.sum(axis=0)) - _entropy(p)
        # The chain rule: I(a; v | y) = I(a; v) + I(y; a, v) - I(y; a) - I(y; v).
        told["I(a; v | y)"] = (
            told["I(a; v)"] + told["I(y; a, v)"] - told["I(y; a)"] - told["I(y; v)"]
        )
        best = {"a": p.sum(axis=2), "v": p.sum(axis=1), "both": p}
        told |= {f"accuracy of {m}": each.max(axis=0).sum() for m, each in best.items()}
        return {name: float(value) for name, value in told.items()}


def _symmetric(p: float, num_classes: int) -> float:
    """Returns the information of a symmetric channel in nats."""
    others = (1 - p) / (num_classes - 1)
    return float(np.log(num_classes) + _xlogx(p) + (num_classes - 1) * _xlogx(others))


def _entropy(p: np.ndarray) -> float:
    return -float(_xlogx(p).sum())


def _xlogx(p):
    p = np.maximum(p, 0.0)  # Rounding leaves shares a little below zero.
    return p * np.log(np.where(p > 0, p, 1.0))
