"""The record of a whole shard, from its tar: for when the side files are lost and tars are not."""

import hashlib
import tarfile
from dataclasses import replace

import numpy as np

from data_prep.shard_plan import SplitPlan
from data_prep.writing.duplicates import fingerprint
from data_prep.writing.finished import updated
from data_prep.writing.image_check import Refusal, header
from data_prep.writing.tar_writer import index_text
from data_prep.writing.work_folder import ShardRecord
from pipeline.errors import DataError
from pipeline.shards import SAMPLE_DTYPE, Quarantined, ShardEntry, index_name, pack_name


def read_back(
    plan: SplitPlan, index: int, entry: ShardEntry, quarantine: dict[str, Quarantined]
) -> ShardRecord:
    """What writing shard ``index`` would have recorded; writes its index file where it is wrong.

    ``quarantine``: of the split, by name. Raises DataError where the tar is not of this source.
    """
    entries = plan.listing.entries
    positions = plan.positions(index)
    original = {
        key.decode("ascii"): entries[i]
        for key, i in zip(plan.keys[positions].tolist(), positions.tolist(), strict=True)
    }
    label_of = {name: label for label, name in enumerate(plan.classes)}
    rows: list[tuple[int, ...]] = []
    keys: list[str] = []
    names, fingerprints = bytearray(), list[int]()
    with tarfile.open(plan.out / entry.name) as tar:
        for member in tar:
            key, _, suffix = member.name.rpartition(".")
            if suffix != "jpg":
                continue
            file = tar.extractfile(member)
            image = file.read() if file is not None else b""
            size = header(image)
            if key not in original or isinstance(size, Refusal):
                raise DataError(
                    f"{entry.name} holds {key}, which is not an image of SOURCE in this shard; "
                    "use the SOURCE that OUT was made of, or another OUT"
                )
            label = label_of[original[key].class_name]
            place = (index, member.offset_data, member.size, size.width, size.height)
            rows.append((*place, label, len(names)))
            keys.append(key)
            names += pack_name(key, original[key].name)
            fingerprints.append(fingerprint(image))
    text = index_text(keys, [r[1] for r in rows], [r[2] for r in rows], plan.label_digits).encode()
    updated(plan.out / index_name(entry.name), text)
    return ShardRecord(
        replace(entry, index_sha256=hashlib.sha256(text).hexdigest()),
        np.array(rows, SAMPLE_DTYPE),
        bytes(names),
        np.array(fingerprints, np.uint64),
        [quarantine[e.name] for e in original.values() if e.name in quarantine],
    )
