"""What an engine promises under every ZeRO stage: averages, bad steps, clipping, BatchNorm."""

import json

import pytest

from tests.dist.nursery import Nursery

FP32 = [f"{stage}-fp32-8-48" for stage in range(4)]
# bf16 at stage 0 takes one micro-batch per rank only.
BF16 = [*(f"{stage}-bf16-8-48" for stage in (1, 2, 3)), "0-bf16-24-48", "1-bf16-24-48"]
CASES = {
    "average": FP32 + BF16,
    "bad_step": FP32 + BF16[:3],
    "clipping": FP32,
    "compiled": ["0-fp32-8-48", "1-bf16-8-48", "2-fp32-8-48", "3-bf16-8-48"],
    "recomputed": ["1-fp32-8-48", "3-bf16-8-48"],
    "frozen": ["0-fp32-8-48", "1-bf16-8-48", "2-fp32-8-48", "3-bf16-8-48"],
    "statistics": ["1-fp32-8-48", "1-bf16-8-48", "3-fp32-8-48"],
}
Outcomes = list[dict[str, dict]]


def outcomes(nursery: Nursery, world: int, checks: list[str]) -> Outcomes:
    """Of every rank."""
    words = [f"{check}:{case}" for check in checks for case in CASES[check]]
    told = nursery.results(world, "tests.dist.engine_checks", *words, timeout_s=240)
    return [json.loads(stdout.strip().splitlines()[-1]) for stdout in told]


@pytest.fixture(scope="module")
def two_ranks(nursery: Nursery) -> Outcomes:
    return outcomes(nursery, 2, list(CASES))


@pytest.mark.parametrize("check", ["average", "compiled", "recomputed", "frozen"])
def test_holds_under_every_stage(check: str, two_ranks: Outcomes) -> None:
    for case in CASES[check]:
        for found in two_ranks:
            facts = found[f"{check}:{case}"]
            assert all(facts.values()), (case, facts)


@pytest.mark.parametrize("case", CASES["bad_step"])
def test_a_bad_step_is_named_and_changes_nothing(case: str, two_ranks: Outcomes) -> None:
    first, second = (found[f"bad_step:{case}"] for found in two_ranks)
    for facts in (first, second):
        assert facts["skipped"] and facts["unchanged"] and facts["same_afterwards"]
    assert first["culprits"] == first["by_gradient"] == [], "it is the other rank's"
    ids = range(1400, 1408) if case.startswith("1-") else [1402]
    assert second["culprits"] == [[4, 8, list(ids), "head.fc.weight"]]
    assert second["by_gradient"] == [[n, 0, True, ["stem.conv.bias"]] for n in (3, 4, 5)]


@pytest.mark.parametrize("case", CASES["clipping"])
def test_clipping_is_plain_pytorchs(case: str, two_ranks: Outcomes) -> None:
    facts = two_ranks[0][f"clipping:{case}"]
    assert facts["norm"] == pytest.approx(facts["plain_norm"], rel=1e-5)
    assert facts["plain_norm"] > 0.02, "clipping must have something to do"
    # A step moves a weight by about the learning rate, 1e-2.
    assert facts["apart"] < 2e-4


def test_batch_norm_does_not_depend_on_the_world(nursery: Nursery, two_ranks: Outcomes) -> None:
    one, four = (outcomes(nursery, world, ["statistics"])[0] for world in (1, 4))
    for case in CASES["statistics"]:
        key = f"statistics:{case}"
        assert one[key] == two_ranks[0][key] == two_ranks[1][key] == four[key]
        assert one[key]["moved"] and one[key]["tracked"]
        assert one[key]["dtypes"] == ["torch.float32"]
