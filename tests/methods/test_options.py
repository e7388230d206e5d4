"""What options of methods refuse when they are made directly, before anything is traced."""

import math

import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.section import SectionError
from tests.losses.reference import ADDITIVE, make_batch
from tests.methods.reference import forward_of


@pytest.mark.parametrize(
    ("options", "fields", "message"),
    [
        (methods.PMR, {"weights": "foo"}, r'^Expected weights: "clip" or "binary", got \'foo\'\.$'),
        (methods.OGM, {"reach": "foo"}, r'^Expected reach: "kernels" or "all", got \'foo\'\.$'),
        (methods.AGM, {"response": "foo"}, r'^Expected response: "shapley" or "split", got'),
        (methods.OPM, {"probabilities": "foo"}, r'^Expected probabilities: "excess" or "ratio",'),
        (methods.MLA, {"projection": "foo"}, r'^Expected projection: "off" or "owm", got \'foo\''),
        (methods.OGM, {"alpha": -1}, r"^Expected alpha: number > 0, got -1\.$"),
        (methods.OGMGE, {"alpha": math.nan}, r"^Expected alpha: number > 0, got nan\.$"),
        (methods.AGM, {"alpha": 0.0}, r"^Expected alpha: number > 0, got 0\.0\.$"),
        (methods.AGM, {"alpha": "1"}, r"^Expected alpha: number > 0, got '1'\.$"),
        (methods.AGM, {"clip": -1.0}, r"^Expected clip: number > 0 or null, got -1\.0\.$"),
        (methods.OPM, {"base": 1.5}, r"^Expected base: number >= 0 and <= 1, got 1\.5\.$"),
        (methods.OPM, {"apply_probability": -0.1}, r"^Expected apply_probability: number >= 0 and"),
        (methods.OPM, {"strength": -1.0}, r"^Expected strength: number >= 0, got -1\.0\.$"),
        (methods.OPM, {"warmup_epochs": 1.5}, r"^Expected warmup_epochs: integer >= 0, got 1\.5\."),
        (methods.QMF, {"rank_weight": -1.0}, r"^Expected rank_weight: number >= 0, got -1\.0\.$"),
        (methods.PMR, {"momentum": 1.0}, r"^Expected momentum: number >= 0 and < 1, got 1\.0\.$"),
        (methods.PMR, {"share": 0.0}, r"^Expected share: number > 0 and <= 1, got 0\.0\.$"),
        (methods.InfoNCE, {"temperature": 0.0}, r"^Expected temperature: number > 0, got 0\.0\.$"),
        (methods.InfoNCE, {"weight": -1.0}, r"^Expected weight: number >= 0, got -1\.0\.$"),
        (methods.MMPareto, {"gamma": -1}, r"^Expected gamma: number > 0, got -1\.$"),
        (
            methods.TCMax,
            {"num_negatives": "many"},
            r'^Expected num_negatives: integer > 0 or "adaptive" or null, got \'many\'\.$',
        ),
    ],
)
def test_options_out_of_range_are_refused_by_name(options, fields, message):
    with pytest.raises(SectionError, match=message):
        options(**fields)


@pytest.mark.parametrize("options", [methods.OGM, methods.OGMGE, methods.AGM, methods.PMR])
def test_a_window_that_ends_before_it_begins_is_refused(options):
    options(first_epoch=3, last_epoch=3)
    with pytest.raises(SectionError, match=r"^Expected first_epoch <= last_epoch, got 4 > 3\. Bot"):
        options(first_epoch=4, last_epoch=3)


def test_a_modality_that_is_not_there_is_refused():
    features, labels = make_batch(0, dtype=np.float32)
    method = methods.Unimodal(modality="smell").make()
    with pytest.raises(ValueError, match=r"^Expected modality to be one of m0, m1, got 'smell'\.$"):
        method.loss(forward_of(ADDITIVE, features, labels), ())


@pytest.mark.parametrize(
    ("label_prior", "given"), [("uniform", np.array([0.5, 0.5])), ("empirical", None)]
)
def test_the_label_prior_is_given_where_the_options_ask_for_it(label_prior, given):
    with pytest.raises(ValueError, match=rf"frequencies of the classes.* got {label_prior} and"):
        methods.TCMax(label_prior=label_prior).make(label_prior=given)


def test_the_ends_of_ranges_are_allowed():
    methods.AGM(clip=None)
    methods.OPM(base=0.0, apply_probability=1.0, strength=0.0, warmup_epochs=0)
    methods.PMR(alpha=0.0, momentum=0.0, share=1.0)
    methods.QMF(rank_weight=0.0)
