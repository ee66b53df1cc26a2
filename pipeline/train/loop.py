"""The training loop, whole: what a run does, in the order in which it does it."""

from collections.abc import Mapping

from pipeline.checkpoint import Checkpoints, evaluated
from pipeline.config import Config
from pipeline.data.loader import Loader
from pipeline.data.staging import stage
from pipeline.device import open_device
from pipeline.engine import Engine
from pipeline.evaluate.scores import evaluate
from pipeline.optim import Schedule, build_optimizer
from pipeline.plan import due, make_plan, open_splits
from pipeline.preempt import StopRequest
from pipeline.tracking.claim import claim
from pipeline.tracking.session import tracking
from pipeline.train.exhibits import Exhibits
from pipeline.train.faults import Faults
from pipeline.train.meter import Meter
from pipeline.train.start import Compilation, join, start_model
from pipeline.train.view import Result, View
from pipeline.world import World


def train(
    config: Config, world: World, stop: StopRequest, resume_command: str, facts: Mapping[str, str]
) -> Result:
    """Train from the newest checkpoint to the end, or until ``stop`` is requested.

    Raises PipelineError with the exit code that belongs to it, on every rank.
    """
    device = open_device(config, world)
    collective = join(config, world)
    splits = collective.all_or_error(lambda: open_splits(config))
    stage(config.data.stage_to, splits, copies=world.local_rank == 0)
    plan = make_plan(config, world.size, *map(len, splits))
    model = start_model(config, device)
    optimizer = build_optimizer(model, config.optim, plan.lr_peak)
    engine = Engine(model, optimizer, config, plan, collective)
    # Only now: a config that cannot be built leaves no run behind.
    folder = collective.on_main(lambda: claim(config, splits))
    schedule = Schedule(config.optim, config.train, plan)
    loader = Loader(config, plan, world.rank, device, *splits, model.drop_path_rates)
    with tracking(collective, folder, config, facts, splits) as tracker:
        checkpoints = Checkpoints(folder.checkpoints, collective, config.checkpoint, tracker)
        faults = Faults(config.engine, collective, checkpoints)
        exhibits = Exhibits(config, plan, splits, tracker)
        compilation = Compilation(folder, world, tracker)
        progress = checkpoints.restore(engine, loader.blank_images())
        meter = Meter(config, plan, collective, device, progress)
        view = View(config, plan, folder, world, progress.step)
        for step in loader.steps(progress.step):
            lr = schedule.lr(step.number)
            result = engine.train_step(step, lr)
            progress = faults.settle(meter.add(progress, step, result), result, engine, tracker)
            done, total, epoch = progress.step, plan.total_steps, plan.steps_per_epoch
            stopping, overdue = collective.agree(stop.requested, checkpoints.is_overdue)
            metrics: dict[str, float] = {}
            if due(done, config.tracking.every_steps, total):
                metrics, progress = meter.collect(progress, lr)
                tracker.tags(loader.bad_samples(collective))
            paused = meter.pause()
            exhibits.batch(step)
            if due(done, config.evaluate.every_epochs * epoch, total):
                found = evaluate(engine, loader, collective)
                metrics |= found.scores.metrics() | meter.axes(progress)
                progress = evaluated(progress, found.scores.top1_of_best)
                exhibits.answers(found, progress)
            compilation.settle()
            tracker.log(metrics, done)
            if stopping or overdue or checkpoints.due(done, epoch, total):
                checkpoints.save(engine, meter.carry(progress), must=stopping or done == total)
            meter.go_on(paused)
            view.update(done, metrics)
            if stopping:
                break
        end = view.close(progress, tracker.link, stop.next_step(resume_command))
        tracker.end("FINISHED" if end.is_complete else stop.end_status, end.summary())
    collective.close()
    return end
