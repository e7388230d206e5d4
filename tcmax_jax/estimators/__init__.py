"""Estimators of total correlation and mutual information, and distributions with known ones."""

from tcmax_jax.estimators import ground_truth
from tcmax_jax.estimators.bounds import (
    donsker_varadhan,
    infonce,
    jensen_shannon,
    js_nwj,
    mine_objective,
    nwj,
    smile,
)
from tcmax_jax.estimators.club import Conditional, club, club_sampled
from tcmax_jax.estimators.critics import AdditiveCritic, JointCritic, SeparableCritic
from tcmax_jax.estimators.decompositions import (
    decomposed,
    direct,
    estimator_names,
    make_estimator,
)
from tcmax_jax.estimators.estimator import Estimator, State
from tcmax_jax.estimators.fit import Estimate, Fitted, evaluate, fit, split, start, update
from tcmax_jax.estimators.label_information import head_information, label_information
from tcmax_jax.estimators.mutual_information import mutual_information
from tcmax_jax.estimators.report import Report, report_table, tc_report
from tcmax_jax.estimators.samples import Samples, prepare, read_samples
from tcmax_jax.estimators.total_correlation import line_splits, tcne, tree_splits

__all__ = [
    "AdditiveCritic",
    "Conditional",
    "Estimate",
    "Estimator",
    "Fitted",
    "JointCritic",
    "Report",
    "Samples",
    "SeparableCritic",
    "State",
    "club",
    "club_sampled",
    "decomposed",
    "direct",
    "donsker_varadhan",
    "estimator_names",
    "evaluate",
    "fit",
    "ground_truth",
    "head_information",
    "infonce",
    "jensen_shannon",
    "js_nwj",
    "label_information",
    "line_splits",
    "make_estimator",
    "mine_objective",
    "mutual_information",
    "nwj",
    "prepare",
    "read_samples",
    "report_table",
    "smile",
    "split",
    "start",
    "tc_report",
    "tcne",
    "tree_splits",
    "update",
]
