"""A run that nobody watches."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from search.population.progress import Progress


class QuietDisplay:
    """Shows nothing; displays that are no screen to set up and put back begin with it."""

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
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def searching(self, progress: Progress) -> None:
        """Nothing."""

    def training_baselines(self, done: int, total: int) -> None:
        """Nothing."""

    def evaluating(self, done: int, total: int) -> None:
        """Nothing."""
