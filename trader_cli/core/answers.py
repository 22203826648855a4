"""What the guide's calls return: a mapping that is false where the answer is no, and still says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Answer(dict[str, Any]):
    """A dict whose truth is whether what was asked for was given."""

    def __init__(self, body: Mapping[str, object], *, given: bool) -> None:
        super().__init__(body)
        self.given = given

    def __bool__(self) -> bool:
        return self.given
