"""What becomes of an error of saving, which may come long after the save was asked for."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from typing import Literal, get_args

__all__ = ["OnSaveError", "SaveErrors"]

OnSaveError = Literal["raise", "warn"]


class SaveErrors:
    """Raises errors of saving in the thread that trains, or warns of them and counts.

    Args:
        on_save_error: `"raise"` or `"warn"`.

    Raises:
        ValueError: If it is neither.
    """

    def __init__(self, on_save_error: OnSaveError) -> None:
        if on_save_error not in get_args(OnSaveError):
            closest = difflib.get_close_matches(str(on_save_error), get_args(OnSaveError), n=1)
            hint = f" Did you mean {closest[0]!r}?" if closest else ""
            raise ValueError(f"on_save_error must be 'raise' or 'warn', got {on_save_error!r}.{hint}")
        self._raises = on_save_error == "raise"
        self._count = 0

    def surface(self, failures: Sequence[BaseException], *, raises: bool = True) -> None:
        """Raise the first failure and warn of the others, or warn of all; none is passed over in silence.

        Args:
            failures: What failed, oldest first.
            raises: Whether to raise at all, as where another error is on its way. An interrupt is raised in any case.
        """
        first: BaseException | None = None
        for failure in failures:
            self._count += 1
            is_to_be_raised = not isinstance(failure, Exception) or (self._raises and raises)
            if is_to_be_raised and first is None:
                first = failure
            else:
                self._warn(failure)
        if first is not None:
            raise first

    def _warn(self, failure: BaseException) -> None:
        times = "once" if self._count == 1 else f"{self._count} times"
        warnings.warn(
            f"Saving has failed {times} in this training, now with {type(failure).__name__}: {failure}", stacklevel=4
        )
