"""The on-disk contract of a shard folder; the writer and the reader share it.

A folder holds ``<dataset>-<split>-NNNN.tar`` with one ``.idx`` beside each, and for all of
them ``manifest.json`` (this project), ``_info.json`` (timm) and ``sizes.json`` (open_clip).
Per split, ``<dataset>-<split>.samples.npy`` holds one SAMPLE_DTYPE row per sample in shard
order, and ``<dataset>-<split>.names.bin`` the keys and original names.
"""

from pipeline.shards.files import (
    MANIFEST,
    OPEN_CLIP_SIZES,
    SAMPLE_DTYPE,
    TIMM_INFO,
    index_name,
    names_name,
    pack_name,
    repair_command,
    samples_name,
    shard_name,
)
from pipeline.shards.manifest import (
    FIRST_VERSION,
    FORMAT_VERSION,
    Manifest,
    Quarantined,
    ShardEntry,
    SideFile,
    SplitManifest,
    read_manifest,
    sealed,
)
from pipeline.shards.opening import open_split
from pipeline.shards.split import ShardSplit
from pipeline.shards.tar import Tar

__all__ = [
    "FIRST_VERSION",
    "FORMAT_VERSION",
    "MANIFEST",
    "OPEN_CLIP_SIZES",
    "SAMPLE_DTYPE",
    "TIMM_INFO",
    "Manifest",
    "Quarantined",
    "ShardEntry",
    "ShardSplit",
    "SideFile",
    "SplitManifest",
    "Tar",
    "index_name",
    "names_name",
    "open_split",
    "pack_name",
    "read_manifest",
    "repair_command",
    "samples_name",
    "sealed",
    "shard_name",
]
