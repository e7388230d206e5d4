"""The chain of total correlation of a classifier's features, from what its evaluation stored."""

from tcmax_jax.estimators import tc_report
from tcmax_jax.evaluation.outputs import Outputs


def total_correlation_chain(outputs: Outputs, **options) -> dict:
    """Estimates what the features of a split share with the label and with each other.

    Args:
      outputs: what an evaluation has stored, of a split that nothing was trained on.
      **options: of `tcmax_jax.estimators.tc_report`, which says what the terms are.

    Returns:
      {"terms": {name: {"nats", "standard_error"}}, lower bounds of I(y; a), I(y; v), I(a; v | y),
      I(a; v) and TC among them, "sums": the same of its two decompositions, "difference" of these,
      "difference_error", "agree" and "verdict"}.

    Raises:
      ValueError: examples that are too few, or features that are not finite.
    """
    report = tc_report(outputs.features, outputs.labels, **options)

    def plain(estimate):
        return {"nats": float(estimate.value), "standard_error": float(estimate.standard_error)}

    return {
        "terms": {name: plain(estimate) for name, estimate in report.terms.items()},
        "sums": {each.name: plain(each) for each in report.decompositions},
        "difference": float(report.difference),
        "difference_error": float(report.difference_error),
        "agree": bool(report.agree),
        "verdict": report.verdict,
    }
