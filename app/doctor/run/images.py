"""Which of a request's images an output is about, and what is known of that image."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from app.doctor.run.inputs import Instance, TrialRequest


class Images:
    """The images of one request."""

    def __init__(self, request: TrialRequest) -> None:
        self.all = request.instances
        self._by_uid: dict[Any, Instance] = {
            instance.instance_uid: instance for instance in self.all if instance.instance_uid
        }

    @cached_property
    def sizes(self) -> frozenset[tuple[int, int]]:
        """(rows, columns) of every image whose size is known."""
        return frozenset(instance.size for instance in self.all if instance.size)

    def named(self, output: Mapping[Any, Any]) -> Instance | None:
        """The one that `output` names."""
        return self._by_uid.get(output.get("instance_uid"))

    def of(self, output: Mapping[Any, Any]) -> Instance | None:
        """The one that `output` names, or the only one that there is."""
        return self.named(output) or (self.all[0] if len(self.all) == 1 else None)

    def size_of(self, output: Mapping[Any, Any]) -> tuple[int, int] | None:
        """(rows, columns) of the image that `output` is about; where it names none, what is the size of all."""
        instance = self.of(output)
        if instance is not None:
            return instance.size
        is_unnamed = not output.get("instance_uid")
        return next(iter(self.sizes)) if is_unnamed and len(self.sizes) == 1 else None
