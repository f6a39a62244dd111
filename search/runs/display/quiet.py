"""Provides the display of a run that shows nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from search.population.progress import Progress


class QuietDisplay:
    """A display that shows nothing; also the base class of displays without a setup or teardown."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def phase(self, title: str) -> None:
        """Shows nothing."""

    def note(self, text: str) -> None:
        """Shows nothing."""

    def searching(self, progress: Progress) -> None:
        """Shows nothing."""

    def training_baselines(self, done: int, total: int) -> None:
        """Shows nothing."""

    def evaluating(self, done: int, total: int) -> None:
        """Shows nothing."""
