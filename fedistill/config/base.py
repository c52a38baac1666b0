"""The base class of every table in the TOML files."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """No unknown keys, no silent conversions, no change afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
