"""Whether a line of a journal holds what its kind of record must: the one place that decides."""

import math
from typing import Any, TypeGuard

from pipeline.tracking.launches import RESUMED

_MOST = 2**63
_MOST_PID = 2**31


def is_whole(record: Any) -> TypeGuard[dict[str, Any]]:
    """Whether readers may rely on this record; what is not whole they skip, and count.

    Kinds of later versions must have a kind and a time alone.
    """
    try:
        return _is_count(record["t_ms"]) and _has_its_parts(record)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return False


def _has_its_parts(record: dict[str, Any]) -> bool:
    match record["kind"]:
        case "start":
            return _is_start(record)
        case "end":
            return isinstance(record.get("summary", {}), dict)
        case "metrics" | "system":
            return _is_count(record["step"]) and _are_numbers(record["metrics"])
        case "params":
            return isinstance(record["params"], dict)
        case "tags":
            tags = record["tags"]
            numbers = [tags[key] for key in (RESUMED, "world_size") if key in tags]
            return isinstance(tags, dict) and all(str(number).isdecimal() for number in numbers)
        case "dataset":
            dataset = record["dataset"]
            texts = (dataset["name"], dataset["split"], dataset["digest"])
            return all(isinstance(text, str) for text in texts) and _is_count(dataset["samples"])
        case "model":
            model = record["model"]
            epoch = {} if model.get("epoch") is None else {"epoch": model["epoch"]}
            are_numbers = _are_numbers(model["metrics"] | epoch)
            return _is_count(record["step"]) and isinstance(model["folder"], str) and are_numbers
        case kind:
            return isinstance(kind, str)


def _is_start(record: dict[str, Any]) -> bool:
    process, nodes = record.get("process"), record.get("nodes", [])
    return (
        _is_count(record["step"])
        and _is_count(record.get("world_size", 1))
        and _is_count(record.get("attempt", 0))
        and isinstance(nodes, list)
        and all(isinstance(node, str) for node in nodes)
        and isinstance(record.get("job_id"), str | None)
        and (process is None or _is_process(process))
    )


def _is_process(process: dict[str, Any]) -> bool:
    return (
        _is_count(process["pid"])
        and process["pid"] < _MOST_PID
        and isinstance(process["host"], str)
        and math.isfinite(float(process["started_s"]))
    )


def _are_numbers(values: dict[str, Any]) -> bool:
    """NaN and infinity are, also as the texts that the journal writes for them."""
    for value in values.values():
        float(value)
    return True


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST
