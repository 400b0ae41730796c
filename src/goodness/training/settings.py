"""The options of a run's checkpoints and of its early end; kept free of torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EarlyStoppingConfig(BaseModel):
    """When a run ends before its last epoch; see `goodness.EarlyStopping`."""

    model_config = ConfigDict(extra="forbid")

    patience: int = Field(5, ge=1, description="epochs in a row without a rise")
    min_delta: float = Field(
        0.0, ge=0, lt=1, description="what counts as a rise of validation accuracy, as a fraction"
    )


class CheckpointConfig(BaseModel):
    """What is saved of a run beside its best weights."""

    model_config = ConfigDict(extra="forbid")

    every_seconds: float = Field(
        300.0,
        ge=0,
        allow_inf_nan=False,
        description="inside a long epoch the state is saved this often; 0: after every step",
    )
    keep: int = Field(
        0, ge=0, description="of so many last epochs the weights are kept, in epochs/<number>/"
    )


def in_full(value: Any) -> Any:
    """The options of early stopping, of which its patience alone may stand for all."""
    alone = isinstance(value, int | str) and not isinstance(value, bool)
    return {"patience": value} if alone else value
