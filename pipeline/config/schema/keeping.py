"""Settings of what a run leaves behind: checkpoints, journal, MLflow."""

from typing import Annotated, Self

from pydantic import model_validator

from pipeline.config.schema.section import Count, Free, Positive, Section
from pipeline.redact import has_secret


class CheckpointConfig(Section):
    """When checkpoints are written and which stay."""

    every_epochs: Annotated[Count, Free] = 1
    """Epochs between checkpoints."""
    every_steps: Annotated[Count | None, Free] = None
    """Optimizer steps between checkpoints, beside those at epochs' ends; null is off."""
    every_minutes: Annotated[Positive | None, Free] = 10.0
    """Minutes between checkpoints, beside the others; null is off."""
    keep_last: Annotated[Count, Free] = 2
    """Newest checkpoints to keep; the best one stays as well."""


class TrackingConfig(Section):
    """Journal, MLflow and the terminal."""

    experiment: Annotated[str, Free] = "imagenet"
    """MLflow experiment."""
    uri: Annotated[str | None, Free] = None
    """MLflow store; null is $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db; journal is none."""
    every_steps: Annotated[Count, Free] = 50
    """Optimizer steps between journal entries."""
    system_every_s: Annotated[Positive, Free] = 10.0
    """Seconds between samples of CPU, memory and GPU."""
    terminal_every_s: Annotated[Positive, Free] = 10.0
    """Seconds between progress lines where the output is no terminal."""

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        # The resolved config is written to the run folder and to MLflow.
        if self.uri and has_secret(self.uri):
            raise ValueError(
                "uri must hold no user, password or token; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        return self
