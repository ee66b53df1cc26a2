"""The base of every section, and the types that settings have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Free = Field(json_schema_extra={"free": True})
Manner = Field(json_schema_extra={"manner": True})

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
# `strict` would refuse YAML's lists for tuples; the items themselves stay strict.
Range = Annotated[tuple[Positive, Positive], Field(strict=False)]
Channels = Annotated[tuple[float, float, float], Field(strict=False)]
Counts = Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]


class Section(BaseModel):
    """A group of settings; frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )
