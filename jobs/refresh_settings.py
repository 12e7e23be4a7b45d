"""Settings of a refresh: those of a batch, and what becomes of rows that are gone."""

from typing import Literal

from jobs.settings import Settings, TargetSettings

OnDelete = Literal["delete", "mark", "keep"]


class PlanTargetSettings(TargetSettings):
    """A target of a batch or of a refresh; `on_delete` is what becomes of a row that is gone."""

    on_delete: OnDelete = "delete"


class RefreshTargetSettings(PlanTargetSettings):
    """A target that follows its source."""

    mode: Literal["merge"] = "merge"


class PlanSettings(Settings):
    """All that a plan reads: the file of a batch or of a refresh."""

    target: PlanTargetSettings

    @property
    def is_refresh(self) -> bool:
        """Whether the file is a refresh's: no other says what becomes of rows that are gone."""
        return "on_delete" in self.target.model_fields_set


class RefreshSettings(PlanSettings):
    """All that a refresh reads from its file."""

    target: RefreshTargetSettings
