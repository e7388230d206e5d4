"""What functions of methods refuse when they are called directly."""

import math

import numpy as np
import pytest

from tcmax_jax import methods
from tests.losses.reference import ADDITIVE, make_batch
from tests.methods.reference import forward_of


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (methods.pmr, {"weights": "foo"}, r"^Expected weights to be one of 'clip', 'binary', got"),
        (
            methods.ogm,
            {"reach": "foo"},
            r"^Expected reach to be one of 'kernels', 'all', got 'foo'",
        ),
        (methods.agm, {"response": "foo"}, r"one of 'shapley', 'split', got 'foo'\.$"),
        (methods.opm, {"probabilities": "foo"}, r"one of 'excess', 'ratio', got 'foo'\.$"),
        (methods.ogm, {"alpha": -1}, r"^Expected alpha > 0, got -1\.$"),
        (methods.ogm_ge, {"alpha": math.nan}, r"^Expected alpha > 0, got nan\.$"),
        (methods.agm, {"alpha": 0.0}, r"^Expected alpha > 0, got 0\.0\.$"),
        (methods.agm, {"clip": -1.0}, r"^Expected clip > 0, got -1\.0\.$"),
        (methods.opm, {"base": 1.5}, r"^Expected base within 0 \.\. 1, got 1\.5\.$"),
        (methods.opm, {"apply_probability": -0.1}, r"^Expected apply_probability within 0 \.\. 1"),
        (methods.opm, {"strength": -1.0}, r"^Expected strength >= 0, got -1\.0\.$"),
        (methods.opm, {"warmup_epochs": -1}, r"^Expected warmup_epochs >= 0, got -1\.$"),
        (methods.qmf, {"rank_weight": -1.0}, r"^Expected rank_weight >= 0, got -1\.0\.$"),
        (methods.pmr, {"alpha": -1.0}, r"^Expected alpha >= 0, got -1\.0\.$"),
        (methods.pmr, {"momentum": 2.0}, r"^Expected momentum within 0 \.\. 1, got 2\.0\.$"),
        (methods.pmr, {"share": 0.0}, r"^Expected share > 0, got 0\.0\.$"),
        (methods.pmr, {"entropy_weight": -1.0}, r"^Expected entropy_weight >= 0, got -1\.0\.$"),
        (methods.infonce, {"temperature": 0.0}, r"^Expected temperature > 0, got 0\.0\.$"),
        (methods.infonce, {"weight": -1.0}, r"^Expected weight >= 0, got -1\.0\.$"),
    ],
)
def test_options_out_of_range_are_refused_by_name(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_options_of_methods_that_take_modalities():
    with pytest.raises(ValueError, match=r"^Expected projection to be one of 'off', 'owm', got"):
        methods.mla(("a", "v"), projection="foo")
    with pytest.raises(ValueError, match=r"^Expected gamma > 0, got -1\.$"):
        methods.mmpareto(("a", "v"), gamma=-1)


@pytest.mark.parametrize("make", [methods.ogm, methods.ogm_ge, methods.agm, methods.pmr])
def test_a_window_that_ends_before_it_begins_is_refused(make):
    make(first_epoch=3, last_epoch=3)
    with pytest.raises(ValueError, match=r"^Expected first_epoch <= last_epoch, got 4 > 3\. Both"):
        make(first_epoch=4, last_epoch=3)


def test_a_modality_that_is_not_there_is_refused():
    features, labels = make_batch(0, dtype=np.float32)
    method = methods.unimodal(modality="smell")
    with pytest.raises(ValueError, match=r"^Expected modality to be one of 'm0', 'm1', got 'sme"):
        method.loss(forward_of(ADDITIVE, features, labels), ())


def test_the_ends_of_ranges_are_allowed():
    methods.agm(clip=None)
    methods.opm(base=0.0, apply_probability=1.0, strength=0.0, warmup_epochs=0)
    methods.pmr(alpha=0.0, momentum=0.0, share=1.0)
    methods.qmf(rank_weight=0.0)
