"""The language of --filter: what holds, and where a mistake is."""

import pytest

from pipeline.compare import load_runs
from pipeline.compare.reading.filters import read_filter
from pipeline.errors import UserError


@pytest.fixture
def loaded(runs):
    mixers = {"metaformer": {"token_mixers": ["pooling", "attention", "pooling", "pooling"]}}
    runs.make("s12-a", [50.0], train={"global_batch": 1024, "micro_batch": 64})
    runs.make("s12-b", [71.0], seed=1, model=mixers, tags={"note": "two words"})
    runs.make("m48", seed=2, end="FAILED", tags={"gpu": "h100"})
    return load_runs(sorted(runs.root.iterdir()))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("best_top1>70", "s12-b"),
        ("best_top1<=50", "s12-a"),
        ("best_top1>=50 and best_top1<71", "s12-a"),
        ("status=FINISHED", "s12-a s12-b"),
        ("status==FINISHED and not seed=1", "s12-a"),
        ("status!=FINISHED", "m48"),
        ("status=finished", "s12-a s12-b"),
        ("status='finished'", ""),
        ("gpu=H1*", "m48"),
        ("train.global_batch>=4096", "m48 s12-b"),
        ("train.global_batch=1.024e3", "s12-a"),
        ("optim.lr_base=0.0010", "m48 s12-a s12-b"),
        ("name=s12-*", "s12-a s12-b"),
        ("name!=*-b", "m48 s12-a"),
        ("model.metaformer.token_mixers!=pooling", "s12-b"),
        ("model.metaformer.token_mixers=[pooling,attention, pooling,pooling]", "s12-b"),
        ("model.metaformer.token_mixers=[pooling*", "s12-b"),
        ("note='two words'", "s12-b"),
        ('note="two words" or gpu=h100', "m48 s12-b"),
        ("gpu!=h100", "s12-a s12-b"),
        ("gpu=*", "m48"),
        ("val/loss<0.9", "s12-b"),
        ("experiment=digits and (seed=1 or seed=2) and not (name=m48)", "s12-b"),
        ("seed=1 or seed=2 and name=nothing", "s12-b"),
        ("not not status=FAILED", "m48"),
        ("augment.color_jitter=null", "m48 s12-a s12-b"),
        ("  ranks = 1 ", "m48 s12-a s12-b"),
    ],
)
def test_what_holds(loaded, text, names):
    holds = read_filter(text, loaded)
    assert [run.name for run in loaded if holds(run)] == names.split()


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "expected the name of a setting, tag, result or metric"),
        ("status", 7, "expected =, !=, <, <=, > or >= after status"),
        ("status=", 8, "expected a value after status="),
        ("seed>= and status=FINISHED", 8, "expected a value after seed>="),
        ("seed=1 status=FINISHED", 8, "expected `and`, `or` or the end"),
        ("(seed=1 or (seed=2)", 1, "this ( is never closed"),
        ("seed=1)", 7, "expected `and`, `or` or the end"),
        ("seed=1 and", 11, "expected the name of a setting"),
        ("and seed=1", 1, "expected the name of a setting"),
        ("seed>many", 6, "> needs a number, many is none"),
        ("note='two", 6, "' has no partner, or no meaning here"),
        ("seed = ! 3", 8, "! has no partner"),
        ("train.epoch>3", 1, "did you mean train.epochs"),
        ("token_mixer=pooling", 1, "did you mean model.metaformer.token_mixers"),
        ("seed=1 and zzz>3", 12, "no run has a setting, tag or metric zzz; Results are status,"),
        ("best_top_1>3", 1, "did you mean best_top1"),
    ],
)
def test_a_mistake_is_shown_where_it_is(loaded, text, column, message):
    with pytest.raises(UserError) as caught:
        read_filter(text, loaded)
    first, shown, mark = str(caught.value).split("\n")
    assert first.startswith(f"--filter: column {column}: ")
    assert message in first
    assert shown == f"  {text}"
    assert mark.index("^") - 2 == column - 1


def test_nothing_is_executed(loaded):
    with pytest.raises(UserError):
        read_filter("__import__('os').system('true')", loaded)
