"""Disks and memory: the shards, the folder of runs, the staging folder, /dev/shm."""

import errno
import os
import shutil
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile

from pipeline.config import Config
from pipeline.shards import Manifest, read_manifest
from slurm.doctor.finding import Verdict, fail, ok, warn
from slurm.doctor.parameters import parameters_at_most
from slurm.doctor.subject import Subject, existing

_MIB = 1 << 20
_READ_S = 1.0
_READERS = 4
_READER_BYTES = 64 * _MIB
_GPU_IMAGES_PER_S = 500
"""What a recent GPU trains of even the largest models here; less than this keeps it waiting."""
_SHM_PER_RANK = 64 * _MIB
"""NCCL refuses to start with less; it is also what a container has where nobody asked."""
_SHM_EASY = 1 << 30
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SPARE_BYTES = 1 << 30
"""What staging leaves free."""


def shards(subject: Subject) -> Verdict | None:
    """How fast this node reads a shard, and how many images that feeds."""
    if not subject.has_config:
        return None
    data = subject.config.data
    manifest = read_manifest(Path(data.root))
    if data.train_split not in manifest.splits:
        return fail(
            f"{data.root} holds the splits {', '.join(manifest.splits)}, not {data.train_split!r}",
            "set data.train_split, or write that split with data_prep/shard.py",
        )
    entries = manifest.splits[data.train_split].shards
    # Another shard on each node, as in training: one that all read would come from a cache.
    entry = entries[zlib.crc32(subject.node.encode()) % len(entries)]
    num_bytes, seconds = read_cold(Path(data.root) / entry.name)
    rate = num_bytes / seconds
    images = rate / (entry.bytes / entry.samples)
    told = (
        f"{num_bytes / 1e6:.0f} MB of {entry.name} at {rate / 1e6:,.0f} MB/s ({_READERS} readers, "
        f"page cache dropped), which feeds {images:,.0f} images/s"
    )
    wanted = _GPU_IMAGES_PER_S * subject.ranks if subject.needs_gpu else 0
    if images >= wanted:
        return ok(told)
    return warn(
        f"{told}; {subject.ranks} GPU(s) want {wanted:,} and more",
        "set data.stage_to to a folder on the node's own disk, or data.order=windowed; or move "
        "the shards to a faster file system",
    )


def read_cold(path: Path) -> tuple[int, float]:
    """Read parts of a file at once, for a second or so: bytes read, and seconds taken.

    Pages of it that the kernel holds are dropped first, so far as nobody maps them.
    """
    deadline = time.monotonic() + _READ_S
    size = path.stat().st_size

    def read(number: int) -> int:
        done = 0
        begin = size * number // _READERS
        end = min(size * (number + 1) // _READERS, begin + _READER_BYTES)
        buffer = memoryview(bytearray(min(8 * _MIB, end - begin)))
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), begin, end - begin, os.POSIX_FADV_DONTNEED)
            file.seek(begin)
            while (left := end - begin - done) > 0 and time.monotonic() < deadline:
                done += file.readinto(buffer[:left]) or 0
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(_READERS) as pool:
        num_bytes = sum(pool.map(read, range(_READERS)))
    return num_bytes, time.perf_counter() - began


def shards_readable(subject: Subject) -> Verdict:
    """Whether this node sees the shards at all. Raises PipelineError where the manifest is bad."""
    root = Path(subject.config.data.root)
    manifest = read_manifest(root)
    for split in manifest.splits.values():
        with (root / split.shards[0].name).open("rb", buffering=0) as file:
            file.read(512)
    return ok(f"{root} is there")


def runs_writable(subject: Subject) -> Verdict:
    """Whether the folder of runs takes files from this node; a full disk is another matter."""
    root = subject.config.runs_root
    error = _write_error(existing(Path(root)))
    if error is None or error.errno in _FULL:
        return ok(f"runs_root={root} takes files")
    return fail(
        f"runs_root={root} takes no files from here ({error.strerror})",
        "mount it writable, or set runs_root=FOLDER",
    )


def runs_room(subject: Subject) -> Verdict:
    """Whether the folder of runs has room for the checkpoints to come."""
    folder = existing(Path(subject.config.runs_root))
    error = _write_error(folder)
    if error is not None and error.errno in _FULL:
        return fail(
            f"runs_root={subject.config.runs_root} is full ({error.strerror})",
            "make room or raise the quota, or set runs_root=FOLDER",
        )
    return space_verdict(subject.config, shutil.disk_usage(folder).free)


def _write_error(folder: Path) -> OSError | None:
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(_MIB))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def space_verdict(config: Config, free_bytes: int) -> Verdict:
    """free_bytes: in runs_root."""
    one = checkpoint_bytes(config)
    # The kept ones, the best, and the one that is being written.
    kept = (config.checkpoint.keep_last + 2) * one
    told = (
        f"{_size(free_bytes)} free in runs_root={config.runs_root}, a checkpoint takes {_size(one)}"
    )
    if free_bytes < one:
        return fail(told, "make room, or set runs_root=FOLDER")
    if free_bytes < kept:
        return warn(
            f"{told}, and up to {config.checkpoint.keep_last + 2} are there at once",
            "make room, lower checkpoint.keep_last, or set runs_root=FOLDER",
        )
    return ok(told)


def checkpoint_bytes(config: Config) -> int:
    """At most: fp32 weights, two moments, and the average where one is kept."""
    tensors = 3 + (config.optim.model_ema_decay is not None)
    return 4 * tensors * parameters_at_most(config)


def staging_space(subject: Subject) -> Verdict | None:
    """Whether the shards fit into the node's own staging folder."""
    data = subject.config.data
    if data.stage_to is None or not subject.has_config:
        return None
    place = os.path.expandvars(data.stage_to)
    if "$" in place:
        where = "" if subject.is_in_job else "; many clusters set it in jobs only (--nodes 1)"
        return warn(
            f"data.stage_to={data.stage_to}: the variable is not set here{where}",
            "write a folder that every node has, or data.stage_to=null",
        )
    folder = existing(Path(place))
    if not os.access(folder, os.W_OK):
        return warn(f"{folder} cannot be written to", "choose a folder that this account may use")
    manifest = read_manifest(Path(data.root))
    missing = _unstaged_bytes(manifest, Path(place), (data.train_split, data.val_split))
    return staging_verdict(place, missing, shutil.disk_usage(folder).free)


def staging_verdict(place: str, missing_bytes: int, free_bytes: int) -> Verdict:
    """missing_bytes: of shards that are not staged yet."""
    told = f"{_size(free_bytes)} free in {place}, {_size(missing_bytes)} of shards to copy"
    if missing_bytes and missing_bytes + _SPARE_BYTES > free_bytes:
        return warn(
            f"{told}, and 1 GiB stays free: nothing would be staged",
            "make room, use a larger disk, or set data.stage_to=null",
        )
    return ok(told)


def _unstaged_bytes(manifest: Manifest, place: Path, splits: tuple[str, ...]) -> int:
    total = 0
    for name in splits:
        if name not in manifest.splits:
            continue  # told by the check of the shards
        split = manifest.splits[name]
        folder = place / f"{manifest.dataset}-{name}-{split.digest[:16]}"
        total += sum(s.bytes for s in split.shards if not (folder / s.name).is_file())
    return total


def shared_memory(subject: Subject, folder: str = "/dev/shm") -> Verdict:
    """Free space in /dev/shm, through which NCCL's ranks of one node talk."""
    if not os.path.isdir(folder):
        return fail(f"{folder} is missing", "mount it; in a container: --shm-size=1g or more")
    usage = shutil.disk_usage(folder)
    return shared_memory_verdict(subject, usage.free, usage.total)


def shared_memory_verdict(subject: Subject, free_bytes: int, total_bytes: int) -> Verdict:
    """Of /dev/shm."""
    told = f"{_size(free_bytes)} of {_size(total_bytes)} free in /dev/shm"
    ranks = subject.ranks if subject.needs_gpu else 0
    remedy = (
        "remove what dead jobs left there, or make it larger; in a container: --shm-size=1g "
        "or more, or --ipc=host"
    )
    if ranks > 1 and free_bytes < _SHM_PER_RANK * ranks:
        return fail(f"{told}; {ranks} ranks need {_size(_SHM_PER_RANK * ranks)}", remedy)
    if ranks > 1 and free_bytes < _SHM_EASY:
        return warn(f"{told}, which is little for {ranks} ranks", remedy)
    return ok(told)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.0f} MB"
