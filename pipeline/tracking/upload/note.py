"""The text at the top of a run's page in MLflow: what it is and what came of it. Pure."""

import shlex

from pipeline.tracking.run_folder import RunFolder
from pipeline.tracking.upload.batch import Checkpoint, sendable
from pipeline.tracking.upload.facts import RunFacts

_COMMIT_LENGTH = 12
_MOST_CHANGES = 10


def note_check(facts: RunFacts, state: str) -> str:
    """What the note is renewed for: a state, a launch, a best result, a checkpoint."""
    best, last = facts.best, facts.last_checkpoint
    parts = [state, facts.tags.get("launches"), best and best.step, last and last.step]
    return " ".join(map(str, parts))


def note(facts: RunFacts, folder: RunFolder, state: str) -> str:
    """Markdown, at most a page; ``state`` is the tag of that name."""
    # The page shows the first lines alone until it is asked for more.
    parts = [
        _table(facts, state),
        _what(facts),
        _places(facts, folder),
        _commands(facts, folder, state),
        "*Written from the journal. Edit it, and it is yours: it is not written again.*",
    ]
    # The folder's name may be of any bytes.
    return sendable("\n\n".join(part for part in parts if part) + "\n")


def _what(facts: RunFacts) -> str:
    params = facts.params
    words = [f"`{params['model.name']}`"] if "model.name" in params else []
    if mixers := params.get("model.metaformer.token_mixers"):
        words.append(f"with {mixers}")
    train = next((name for name in facts.samples if name.endswith("-train")), None)
    if train is not None:
        words.append(f"on {facts.samples[train]:,} images of {train}")
    if {"train.epochs", "train.global_batch"} <= params.keys():
        words.append(
            f"for {params['train.epochs']} epochs in batches of {params['train.global_batch']}"
        )
    if "seed" in params:
        words.append(f"(seed {params['seed']})")
    changes = [
        f"`{key.removeprefix('latest.')}` = {value}"
        for key, value in facts.tags.items()
        if key.startswith("latest.")
    ]
    text = " ".join(words)
    if changes:
        more = "" if len(changes) <= _MOST_CHANGES else f" and {len(changes) - _MOST_CHANGES} more"
        text += f"\n\nChanged since the first launch: {', '.join(changes[:_MOST_CHANGES])}{more}"
    return text


def _table(facts: RunFacts, state: str) -> str:
    rows = {"best top-1": _best(facts), "state": state, "cost": _cost(facts), "code": _code(facts)}
    lines = [f"| {name} | {text} |" for name, text in rows.items() if text]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _best(facts: RunFacts) -> str:
    best = facts.best
    if best is None:
        return "not evaluated"
    epoch = facts.epochs.get(best.step)
    return f"**{best.value:.2f} %** at step {best.step:,}" + (
        "" if epoch is None else f", epoch {epoch:g}"
    )


def _cost(facts: RunFacts) -> str:
    parts = [] if facts.gpu_hours is None else [f"{facts.gpu_hours:.3g} GPU-hours"]
    if parts and facts.params.get("device") == "cpu":
        parts = [f"{parts[0]} (a rank on a CPU counts as a GPU)"]
    parts += [] if facts.images is None else [f"{int(facts.images):,} images"]
    launches = facts.tags.get("launches", "1")
    return ", ".join([*parts, *([] if launches == "1" else [f"{launches} launches"])])


def _code(facts: RunFacts) -> str:
    commit = facts.tags.get("git_commit")
    if commit is None:
        return ""
    is_changed = facts.tags.get("git_dirty") == "true"
    return f"`{commit[:_COMMIT_LENGTH]}`" + (" and uncommitted changes" if is_changed else "")


def _places(facts: RunFacts, folder: RunFolder) -> str:
    host = facts.tags.get("host")
    there = "" if host is None else f" (written on {host})"
    lines = [f"- run folder: `{folder.path.absolute()}`{there}"]
    checkpoint: Checkpoint | None = facts.last_checkpoint
    if checkpoint is not None:
        lines.append(f"- best checkpoint: `{folder.path.absolute() / checkpoint.folder}`")
    return "\n".join(lines)


def _commands(facts: RunFacts, folder: RunFolder, state: str) -> str:
    path = folder.path.absolute()
    commands: list[str] = []
    if state != "finished":
        config = shlex.quote(str(path / folder.config.name))
        again = facts.tags.get("launch_command")
        commands.append(again or f"python slurm/launch.py --cluster local {config}")
    if facts.last_checkpoint is not None:
        commands.append(f"python -m pipeline.evaluate {shlex.quote(str(path))}")
    if not commands:
        return ""
    return "\n".join(["```console", *commands, "```"])
