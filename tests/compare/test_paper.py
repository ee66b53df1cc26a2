"""The paper's tables: which runs fill which row, and what is said of those that do not."""

from pathlib import Path

import pytest

from pipeline.compare.paper import TABLES, WITHOUT_RUNS, FilledRow, PaperTable, fill
from pipeline.config.flatten import free_settings, manner_settings
from pipeline.errors import UserError
from pipeline.paper import figures
from tests.compare.paper_runs import CONFIGS, paper_run

ABLATIONS = {model.config: model for model in figures().ablations}
MINIATURE = CONFIGS / "miniature.yaml"


def row(table: PaperTable, name: str) -> FilledRow:
    (found,) = [row for row in table.rows if row.paper.name == name]
    return found


def filled(table: PaperTable) -> dict[str, list[str]]:
    return {one.paper.name: [run.name for run in one.runs] for one in table.rows if one.runs}


def has_note(table: PaperTable, *parts: str) -> bool:
    return any(all(part in note for part in parts) for note in table.notes)


def test_the_tables_have_the_papers_rows() -> None:
    paper = figures()
    sizes = {name: [row.paper for row in fill(name, []).rows] for name in TABLES}
    assert [row.top1 for row in sizes["table1"]] == [model.top1 for model in paper.sizes]
    assert len(sizes["table2"]) == len(paper.peers) + len(paper.sizes)
    assert [row.name for row in sizes["table5"]] == [model.name for model in paper.ablations]
    assert {row.name for row in sizes["follow_up"]} == {model.name for model in paper.follow_up}
    longer = {row.config.train.epochs: row.top1 for row in sizes["table7"] if row.config}
    assert longer == paper.longer_training
    without = {row.name for rows in sizes.values() for row in rows if row.config is None}
    assert without == {peer.name for peer in paper.peers if peer.timm is None}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("base", [None, MINIATURE], ids=["paper", "miniature"])
def test_no_two_rows_of_a_table_want_the_same_run(name: str, base: Path | None) -> None:
    wanted = [row.paper.settings for row in fill(name, [], base).rows if row.paper.config]
    assert len({tuple(sorted(settings.items())) for settings in wanted}) == len(wanted)


@pytest.mark.parametrize("config", ABLATIONS)
def test_a_run_of_one_row_fills_that_row_alone(config: str) -> None:
    run = paper_run(config, "name=whatever", top1=70.0)
    table = fill("table5", [run])
    assert filled(table) == {ABLATIONS[config].name: ["whatever"]}
    own = row(table, ABLATIONS[config].name)
    assert own.ours is not None and (own.ours.mean, own.ours.n) == (70.0, 1)
    assert own.difference == pytest.approx(70.0 - ABLATIONS[config].top1)
    assert not any(one.nearest for one in table.rows)


@pytest.mark.parametrize("config", ABLATIONS)
def test_on_a_base_it_is_the_runs_on_that_base(config: str) -> None:
    runs = [paper_run(config, top1=70.0), paper_run(config, top1=90.0, base=MINIATURE)]
    assert runs[1].name == f"miniature-{runs[0].name}"
    table = fill("table5", runs, MINIATURE)
    assert filled(table) == {ABLATIONS[config].name: [runs[1].name]}
    assert row(table, ABLATIONS[config].name).difference is None, "digits are not ImageNet"
    assert filled(fill("table5", runs)) == {ABLATIONS[config].name: [runs[0].name]}


def test_s12_is_the_baseline_whatever_its_file() -> None:
    runs = [paper_run("s12.yaml"), paper_run("ablations/baseline.yaml", "seed=7")]
    assert filled(fill("table5", runs)) == {"baseline": ["s12", "baseline"]}
    assert filled(fill("table1", runs)) == {"S12": ["s12", "baseline"]}
    assert filled(fill("table7", runs)) == {"300 epochs": ["s12", "baseline"]}


def test_seeds_are_averaged_and_copies_are_not() -> None:
    values = {1: 76.0, 2: 77.0, 3: 78.0}
    runs = [paper_run("s12.yaml", f"seed={s}", f"name=s{s}", top1=v) for s, v in values.items()]
    copy = paper_run("s12.yaml", "seed=3", "name=copy", top1=78.0)
    own = row(fill("table1", [*runs, copy]), "S12")
    assert own.ours == (77.0, 1.0, 3) and own.status == "finished"
    assert own.difference == pytest.approx(-0.2)
    assert has_note(fill("table1", [*runs, copy]), "S12", "not counted", "copy")
    assert not has_note(fill("table1", runs), "not counted")
    assert not has_note(fill("table1", runs), "n = 1")


def test_the_last_epoch_counts_and_the_best_stands_beside_it() -> None:
    table = fill("table1", [paper_run("s24.yaml", top1=79.0, best=79.5)])
    own = row(table, "S24")
    assert own.ours is not None and own.best is not None
    assert (own.ours.mean, own.best.mean) == (79.0, 79.5)
    assert own.difference == pytest.approx(79.0 - 80.3)
    assert has_note(table, "after the last epoch", "flatters")


@pytest.mark.parametrize(
    ("status", "epochs", "words"),
    [
        ("RUNNING", 120.5, "running"),
        ("FAILED", 310.0, "failed"),
        ("FINISHED", 309.0, "ended early"),
        ("KILLED", 12.0, "stopped"),
    ],
)
def test_an_unfinished_run_is_marked_and_has_no_difference(status, epochs, words) -> None:
    table = fill("table5", [paper_run("s12.yaml", top1=50.0, epochs=epochs, status=status)])
    own = row(table, "baseline")
    assert own.ours is not None and own.ours.mean == 50.0 and own.status == words
    assert own.difference is None and own.ours_to_baseline is None and not own.is_complete
    assert "50.00 so far" in table.markdown() and f"{epochs:.4g} of 310" in table.markdown()


def test_a_finished_run_stands_for_the_row_while_others_go_on() -> None:
    done = paper_run("s12.yaml", "seed=1", "name=done", top1=77.0)
    going = paper_run("s12.yaml", "seed=2", "name=going", top1=40.0, epochs=20, status="RUNNING")
    table = fill("table1", [going, done])
    own = row(table, "S12")
    assert own.counted == (done,) and own.ours == (77.0, None, 1) and own.status == "finished"
    assert has_note(table, "S12", "going")


def test_a_run_without_an_evaluation_fills_no_figure() -> None:
    own = row(fill("table1", [paper_run("s12.yaml", top1=None, status="RUNNING")]), "S12")
    assert (own.ours, own.difference, own.status) == (None, None, "running, no top-1")


def test_how_it_was_computed_is_told_and_keeps_no_run_away() -> None:
    runs = [
        paper_run("s12.yaml", "engine.dtype=fp32", "train.micro_batch=128"),
        paper_run("m36.yaml", "engine.dtype=fp32", "engine.zero_stage=2", "data.root=/elsewhere"),
    ]
    table = fill("table1", runs)
    assert filled(table) == {"S12": ["s12"], "M36": ["m36"]}
    assert "engine.dtype is fp32, not bf16: all filled rows" in table.notes
    assert "train.micro_batch is 128, not 64: S12" in table.notes
    assert not has_note(table, "zero_stage") and not has_note(table, "data.root")


def test_other_data_and_other_code_are_told() -> None:
    same = fill("table1", [paper_run("s12.yaml"), paper_run("s24.yaml")])
    assert has_note(same, "data: imagenet1k-train ababababab") and has_note(same, "code: c0ffee")
    other = paper_run("s24.yaml", digest="ef" * 32, commit="d" * 40)
    table = fill("table1", [paper_run("s12.yaml"), other])
    assert has_note(table, "the data differs", "ababababab", "in S12", "efefefefef", "in S24")
    assert has_note(table, "the code differs", "c0ffeec0ff in S12", "dddddddddd in S24")


def test_a_training_on_fewer_images_is_not_the_papers() -> None:
    table = fill("table1", [paper_run("s12.yaml", epoch_images=100 * 4096)])
    own = row(table, "S12")
    assert own.status == "no run"
    assert own.nearest is not None and "images of an epoch 409,600 (row: 1,277,952)" in own.nearest


def test_a_near_miss_is_told_at_the_row_it_is_nearest_to() -> None:
    near = paper_run("ablations/relu.yaml", "optim.lr_base=2e-3", "name=relu-lr2")
    nearer = paper_run("ablations/relu.yaml", "augment.aa=null", "optim.clip_grad=1", "name=b")
    far = paper_run("ablations/silu.yaml", *(f"augment.{k}=0" for k in ("hflip", "mixup")),
                    "augment.cutmix=0", "augment.reprob=0")  # fmt: skip
    table = fill("table5", [nearer, near, far])
    assert filled(table) == {}
    assert {one.paper.name: one.nearest for one in table.rows if one.nearest} == {
        "activation ReLU": "nearest: relu-lr2 differs in optim.lr_base 0.002 (row: 0.001)"
    }
    assert has_note(table, "activation ReLU: no run; nearest: relu-lr2")
    with_row = fill("table5", [near, paper_run("ablations/relu.yaml")])
    assert not any(one.nearest for one in with_row.rows)


def test_one_value_for_all_stages_is_the_same_as_a_list_of_it() -> None:
    words = ("model.metaformer.token_mixers=[identity, identity, identity, identity]",)
    table = fill("table5", [paper_run("s12.yaml", *words)])
    assert filled(table) == {"token mixer identity": ["s12"]}
    mixed = ("model.metaformer.token_mixers=[identity, identity, identity, pooling]",)
    assert filled(fill("table5", [paper_run("s12.yaml", *mixed)])) == {}


def test_a_setting_younger_than_the_run_has_its_default() -> None:
    run = paper_run("s12.yaml")
    del run.settings["optim.model_ema_decay"], run.settings["model.new_head"]
    assert filled(fill("table1", [run])) == {"S12": ["s12"]}
    run.settings["optim.sharpness"] = "0.1"
    assert row(fill("table1", [run]), "S12").nearest == (
        "nearest: s12 differs in optim.sharpness 0.1 (row: unknown)"
    )


def test_peers_and_follow_ups_are_found_by_their_models() -> None:
    peer = paper_run("base.yaml", "model.name=resnet50", top1=78.0)
    # Settings of our own model are not read where timm's is trained.
    other = paper_run("s24.yaml", "model.name=resnet18", "model.drop_path=0.1")
    table = fill("table2", [peer, other, paper_run("m48.yaml")])
    assert {*filled(table)} == {"ResNet-50 (RSB)", "ResNet-18 (RSB)", "M48"}
    assert row(table, "PVT-Tiny").status == "paper only"
    assert has_note(table, "PVT-Tiny: timm lacks it; timm has its second version alone")
    words = ("model.name=randformer_m48", "model.drop_path=0.4", "evaluate.crop_pct=1.0")
    assert {*filled(fill("follow_up", [paper_run("base.yaml", *words)]))} == {"randformer_m48"}
    assert filled(fill("follow_up", [paper_run("base.yaml", *words[:2])])) == {}


def test_differences_to_the_own_baseline_stand_beside_the_papers() -> None:
    runs = [paper_run("ablations/baseline.yaml", top1=76.0)]
    assert row(fill("table5", runs), "token mixer identity").ours_to_baseline is None
    runs.append(paper_run("ablations/identity.yaml", top1=74.0))
    own = row(fill("table5", runs), "token mixer identity")
    assert own.ours_to_baseline == pytest.approx(-2.0) and own.low is None
    assert own.theirs_to_baseline == pytest.approx(74.3 - 77.2)
    for file, values in (("baseline", (76.2, 75.8)), ("identity", (74.3, 73.7))):
        for seed, value in enumerate(values):
            runs.append(paper_run(f"ablations/{file}.yaml", f"seed={seed}", top1=value))
    own = row(fill("table5", runs), "token mixer identity")
    assert own.low is not None and own.high is not None
    assert own.low < -2.0 < own.high < 0


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("tabel5", "no such table; did you mean table5"),
        ("4", "no such table; there are table1"),
        *((name, f"--paper {name}: {reason}") for name, reason in WITHOUT_RUNS.items()),
    ],
)
def test_a_table_that_cannot_be_filled(name: str, part: str) -> None:
    with pytest.raises(UserError) as raised:
        fill(name, [])
    assert part in str(raised.value) and "follow_up" in str(raised.value)


def test_a_base_that_fits_no_row_is_refused_with_its_place() -> None:
    with pytest.raises(UserError, match=r"attention_last.yaml:10: .*4 entries for 2 stages"):
        fill("table5", [], CONFIGS / "digits.yaml")
    with pytest.raises(UserError, match=r"--base nowhere\.yaml: no such file"):
        fill("table5", [], Path("nowhere.yaml"))


def test_a_setting_is_free_or_manner_never_both() -> None:
    assert not free_settings() & manner_settings()
    assert {"device", "engine.dtype", "train.micro_batch"} < manner_settings()
