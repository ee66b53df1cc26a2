"""Names in state dicts: ours, which are timm's, and the original release's."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from pipeline.config.schema import ModelConfig
from pipeline.errors import UserError
from pipeline.models import sizes

if TYPE_CHECKING:
    from torch import Tensor

Names = Literal["ours", "original", "timm"]

_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_BLOCK = (
    rf"norm[12]\.{_NORM}|mlp\.fc[12]\.(weight|bias)|token_mixer\.(qkv\.weight|proj\.(weight|bias)"
    r"|fc\.weight|conv\.(weight|bias)|random_matrix)"
)
_OURS = re.compile(
    rf"stem\.conv\.(weight|bias)|head\.norm\.{_NORM}|head\.fc\.(weight|bias)"
    r"|stages\.(?P<stage>\d+)\.(?P<part>pos_embed|downsample\.conv\.(weight|bias)"
    rf"|blocks\.\d+\.({_BLOCK}|layer_scale[12]\.scale))"
)
_ORIGINAL = re.compile(
    rf"patch_embed\.proj\.(weight|bias)|norm\.{_NORM}|head\.(weight|bias)"
    r"|network\.(?P<entry>\d+)\.(?P<part>pos_embed|proj\.(weight|bias)"
    rf"|\d+\.({_BLOCK}|layer_scale_[12]))"
)
_ENDS = (("patch_embed.proj.", "stem.conv."), ("norm.", "head.norm."), ("head.", "head.fc."))


def names_of(state: Mapping[str, object]) -> Literal["ours", "original"]:
    """Whose names these are; timm's are ours. Raises UserError that lists unknown ones."""
    is_original = any(name.startswith(("patch_embed.", "network.")) for name in state)
    known = _ORIGINAL if is_original else _OURS
    unknown = [name for name in state if not known.fullmatch(name)]
    if unknown:
        whose = "the original release's" if is_original else "ours or timm's"
        raise UserError(
            f"{len(unknown)} of {len(state)} names in the weights are not {whose} of a MetaFormer: "
            f"{', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}; "
            "are they of another model (model.name)?"
        )
    return "original" if is_original else "ours"


def convert_names(state: "Mapping[str, Tensor]", to: Names) -> "dict[str, Tensor]":
    """A MetaFormer's tensors under the names of ``to``, in the order they came; no copies.

    Names alone are converted: timm's poolformer normalises after its pooling, ours and the
    original before. Raises UserError that lists unknown names.
    """
    has = names_of(state)
    wants = "original" if to == "original" else "ours"
    if has == wants:
        return dict(state)
    convert = _to_original(state) if wants == "original" else _to_ours(state)
    return {convert[name]: tensor for name, tensor in state.items()}


def timm_architecture(config: ModelConfig) -> str | None:
    """The timm model that these weights fit (poolformer_s12, or the name itself), or None."""
    from pipeline.models import follow_up

    if config.name != "metaformer":
        return None if config.name in follow_up.NAMES else config.name
    own = config.metaformer
    is_poolformer = (
        set(own.per_stage("token_mixers")) == {"pooling"}
        and set(own.per_stage("pool_size")) == {3}
        and set(own.per_stage("norm")) == {"group_norm"}
        and (own.act, own.residual, own.mlp) == ("gelu", True, True)
    )
    size = sizes.name_of(own.depths, own.dims)
    return f"poolformer_{size}" if is_poolformer and size else None


def _to_ours(names: Iterable[str]) -> dict[str, str]:
    """The original counts downsamplings, positions and stages in one list, `network`."""
    parsed = {name: match for name in names if (match := _ORIGINAL.fullmatch(name))}
    entries = {
        int(match["entry"]) for match in parsed.values() if match["part"] and _is_block(match)
    }
    order = sorted(entries)
    result: dict[str, str] = {}
    for name, match in parsed.items():
        if not match["part"]:
            old, new = next(pair for pair in _ENDS if name.startswith(pair[0]))
            result[name] = new + name.removeprefix(old)
            continue
        # What is no stage belongs to the next one.
        stage = sum(entry < int(match["entry"]) for entry in order)
        part = re.sub(r"layer_scale_([12])$", r"layer_scale\1.scale", match["part"])
        part = f"blocks.{part}" if _is_block(match) else part.replace("proj.", "downsample.conv.")
        result[name] = f"stages.{stage}.{part}"
    return result


def _to_original(names: Iterable[str]) -> dict[str, str]:
    parsed = {name: match for name in names if (match := _OURS.fullmatch(name))}
    kinds = {
        (int(match["stage"]), _KINDS.index(match["part"].split(".")[0]))
        for match in parsed.values()
        if match["part"]
    }
    entries = {kind: number for number, kind in enumerate(sorted(kinds))}
    result: dict[str, str] = {}
    for name, match in parsed.items():
        if not match["part"]:
            new, old = next(pair for pair in _ENDS if name.startswith(pair[1]))
            result[name] = new + name.removeprefix(old)
            continue
        kind = match["part"].split(".")[0]
        part = re.sub(r"layer_scale([12])\.scale$", r"layer_scale_\1", match["part"])
        part = part.removeprefix("blocks.").replace("downsample.conv.", "proj.")
        result[name] = f"network.{entries[int(match['stage']), _KINDS.index(kind)]}.{part}"
    return result


# In the order in which the original's list has them.
_KINDS = ("downsample", "pos_embed", "blocks")


def _is_block(match: re.Match[str]) -> bool:
    return match["part"][0].isdigit()
