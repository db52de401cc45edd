"""Which network a bundle holds, and the gray values that it expects."""

from dataclasses import asdict, dataclass, field
from typing import Any

MOST_UNITS = 65536
"""How many units a hidden layer may have."""

_MOST_HIDDEN = 8


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network by its timm name, and the gray values it expects.

    options: keyword arguments of timm.create_model beside in_chans and num_classes.
    mean, std: the network sees (gray / 255 - mean) / std. hidden: units of the layers between its features
    and its scores, each with ReLU.
    """

    timm: str
    options: dict[str, Any] = field(default_factory=dict)
    mean: float = 0.5
    std: float = 0.5
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.hidden) > _MOST_HIDDEN or not all(
            isinstance(units, int) and 0 < units <= MOST_UNITS for units in self.hidden
        ):
            raise ValueError(f"at most {_MOST_HIDDEN} hidden layers of 1 to {MOST_UNITS} units are possible")

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; no hidden layers are left out, so digests stay what they were."""
        values = asdict(self)
        hidden = list(values.pop("hidden"))
        return {**values, "hidden": hidden} if hidden else values


def network_of(values: dict[str, Any]) -> NetworkSpec:
    """Read what `as_dict` gave. Raises TypeError or ValueError for other values."""
    return NetworkSpec(**{**values, "hidden": tuple(values.get("hidden", ()))})
