"""Config and world to numbers: steps, micro-batches per rank, learning-rate scale. Pure."""

import math
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.shards import ShardSplit, open_split


@dataclass(frozen=True)
class Plan:
    """All counts of a run. A micro-batch is ``micro_batch`` images; a slot is room for one."""

    world_size: int
    global_batch: int
    micro_batch: int
    micro_batches: int
    """Per step, over all ranks."""
    slots: int
    """Micro-batches per rank and step, empty ones included."""
    steps_per_epoch: int
    schedule_epochs: int
    """Warm-up, cosine and cool-down."""
    schedule_steps: int
    total_steps: int
    """Steps that this run takes: the schedule's, or train.max_steps."""
    lr_peak: float
    train_samples: int
    val_samples: int
    eval_batches: int

    @property
    def idle_slots(self) -> int:
        """Slots per step, over all ranks, that hold no micro-batch."""
        return self.world_size * self.slots - self.micro_batches

    @property
    def loss_scale(self) -> float:
        """What losses are multiplied with before their backward pass: a power of two.

        Any other factor would round a micro-batch's gradients otherwise in each world.
        """
        return 2.0 ** round(math.log2(self.world_size / self.micro_batches))

    @property
    def gradient_scale(self) -> float:
        """Makes the engine's mean over the ranks, of sums, the mean over the micro-batches."""
        return self.world_size / self.micro_batches / self.loss_scale

    def micro_batches_of(self, rank: int) -> range:
        """The consecutive micro-batches of a step that a rank computes; at most ``slots``."""
        start = rank * self.micro_batches // self.world_size
        return range(start, (rank + 1) * self.micro_batches // self.world_size)

    def eval_batches_of(self, rank: int) -> range:
        """The evaluation batches that a rank computes."""
        return range(rank, self.eval_batches, self.world_size)

    def epoch_of(self, step: int) -> int:
        """Epoch that the step (0-based) belongs to."""
        return step // self.steps_per_epoch


def make_plan(config: Config, world_size: int, train_samples: int, val_samples: int) -> Plan:
    """Work out a run. Raises UserError where the world or the data do not fit the config."""
    train = config.train
    micro_batches = train.global_batch // train.micro_batch
    if world_size > micro_batches:
        raise UserError(
            f"{world_size} ranks for train.global_batch / train.micro_batch = "
            f"{train.global_batch} / {train.micro_batch} = {micro_batches} micro-batches: each "
            f"rank needs at least one; use at most {micro_batches} ranks or "
            + _more_micro_batches(train.global_batch, world_size)
        )
    slots = -(-micro_batches // world_size)
    if config.engine.dtype == "bf16" and config.engine.zero_stage == 0 and slots > 1:
        raise UserError(
            f"engine.zero_stage=0 with engine.dtype=bf16 cannot accumulate {slots} micro-batches "
            "per rank in fp32 (DeepSpeed); use engine.zero_stage=1"
        )
    steps_per_epoch = train_samples // train.global_batch
    if steps_per_epoch == 0:
        most = train_samples // train.micro_batch * train.micro_batch or train_samples
        raise UserError(
            f"train.global_batch={train.global_batch} is more than the {train_samples} training "
            f"images; use at most {most}"
        )
    schedule_epochs = train.epochs + config.optim.cooldown_epochs
    schedule_steps = schedule_epochs * steps_per_epoch
    return Plan(
        world_size=world_size,
        global_batch=train.global_batch,
        micro_batch=train.micro_batch,
        micro_batches=micro_batches,
        slots=slots,
        steps_per_epoch=steps_per_epoch,
        schedule_epochs=schedule_epochs,
        schedule_steps=schedule_steps,
        total_steps=min(schedule_steps, train.max_steps or schedule_steps),
        lr_peak=config.optim.lr_base * train.global_batch / config.optim.lr_base_size,
        train_samples=train_samples,
        val_samples=val_samples,
        eval_batches=-(-val_samples // config.evaluate.batch_size),
    )


def _more_micro_batches(global_batch: int, world_size: int) -> str:
    """The setting that gives each rank at least one."""
    if global_batch < world_size:
        return f"a train.global_batch of at least {world_size}"
    sizes = range(1, global_batch // world_size + 1)
    return f"train.micro_batch={max(size for size in sizes if global_batch % size == 0)}"


def open_splits(config: Config) -> tuple[ShardSplit, ShardSplit]:
    """The shards to train on and to evaluate on, checked against the model's classes.

    Raises UserError or DataError where they are missing, damaged or of other classes.
    """
    data, classes = config.data, config.model.num_classes
    train, val = (open_split(data.root, split) for split in (data.train_split, data.val_split))
    if len(train.classes) != classes:
        raise UserError(
            f"model.num_classes={classes}, but data.root={data.root} has {len(train.classes)} "
            f"classes; set model.num_classes={len(train.classes)} or use other shards"
        )
    return train, val


def useful_worlds(micro_batches: int) -> list[int]:
    """World sizes that leave no slot empty."""
    return [size for size in range(1, micro_batches + 1) if micro_batches % size == 0]


def due(step: int, every: int | None, total: int) -> bool:
    """Is a periodic action due after ``step`` steps? Always after the last; never if every=None."""
    return every is not None and (step % every == 0 or step == total)
