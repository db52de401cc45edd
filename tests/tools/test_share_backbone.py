"""A model of several heads, divided: each part says of its heads what the whole says."""

from dataclasses import replace

import numpy as np
import pytest
import share_backbone
from predictors import ROUTER_LABELS

from dicomsort.errors import UsageError
from dicomsort.model import networks
from dicomsort.model.bundle import Bundle, compact
from dicomsort.model.engines.torch import TorchClassifier
from dicomsort.model.evidence import Evidence, Rule
from dicomsort.model.heads import Head

AGE = Evidence((Rule("age=child", {"adult_chest": -3.0, "pediatric_chest": 0.0}, "stated: by the test"),))


@pytest.fixture(scope="module")
def whole(small_bundle: Bundle) -> Bundle:
    heads = (Head("group", ROUTER_LABELS), Head("view", ("a", "b"), temperature=2.0),
             Head("ill", ("no_ill", "ill"), kind="binary"))  # fmt: skip
    network = networks.Network(small_bundle.network, sum(head.width for head in heads))
    told = {"validation": [{"head": head.name, "images": 9} for head in heads], "patients": 4}
    return replace(
        small_bundle, name="whole", head=heads[0], further=heads[1:], evidence=AGE, metrics=told,
        weights=compact(networks.weights_of(network)), graph=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "columns"), [("router5=group", [0, 1, 2, 3, 4]), ("view=view,ill", [5, 6, 7]), ("x=ill", [7])]
)
def test_a_part_says_what_the_whole_says(whole: Bundle, text: str, columns: list[int]) -> None:
    made, taken = share_backbone.part_of(whole, share_backbone.Part.parse(text))
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    every, own = (TorchClassifier(each, "cpu", "float32").logits(images) for each in (whole, made))
    assert taken == columns
    np.testing.assert_allclose(own, every[:, columns], rtol=1e-5, atol=1e-6)


def test_rules_of_evidence_go_only_where_their_head_decides(whole: Bundle) -> None:
    router, _ = share_backbone.part_of(whole, share_backbone.Part.parse("router5=group"))
    view, _ = share_backbone.part_of(whole, share_backbone.Part.parse("view=view"))
    assert (router.evidence, view.evidence) == (AGE, None)


def test_a_part_keeps_the_figures_of_its_own_heads(whole: Bundle) -> None:
    view, _ = share_backbone.part_of(whole, share_backbone.Part.parse("view=view"))
    assert view.metrics == {"validation": [{"head": "view", "images": 9}], "patients": 4}


def test_a_head_that_the_run_does_not_have_is_refused(whole: Bundle) -> None:
    with pytest.raises(UsageError, match="no head 'age'"):
        share_backbone.part_of(whole, share_backbone.Part.parse("view=age"))
    with pytest.raises(UsageError, match="NAME=HEAD"):
        share_backbone.Part.parse("view")
