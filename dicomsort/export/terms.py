"""The words of headers that this version knows: the standard's own terms, and codes of SNOMED CT."""

from dataclasses import dataclass, field

from dicomsort.model import anatomy

_VIEWS = {
    **dict.fromkeys(("AP", "PA", "LLD", "RLD"), "frontal"),
    **dict.fromkeys(("LL", "RL"), "lateral"),
    **dict.fromkeys(("LLO", "RLO"), "oblique"),
}

_VIEW_CODES = {  # CID 4010 DX View, as far as it is frontal, lateral or oblique
    **dict.fromkeys(("399033003", "399348003", "272479007"), "frontal"),
    **dict.fromkeys(("399067008", "399198007", "399173006", "399260004", "399352003"), "lateral"),
    **dict.fromkeys(("399182000", "399236003", "399184004", "399135007", "399356000"), "oblique"),
    **dict.fromkeys(("399006002", "399038007", "399160007", "260427002", "260426006"), "oblique"),
}


def _body_parts() -> dict[str, tuple[str, ...]]:
    return {term: (code,) for code in anatomy.regions() if (term := anatomy.body_part_of(code))}


@dataclass(frozen=True, slots=True)
class StandardTerms:
    """Defined terms of Body Part Examined (PS3.16 Annex L) and View Position (PS3.3 C.8.11.5)."""

    parts: dict[str, tuple[str, ...]] = field(default_factory=_body_parts)

    def regions_of(self, text: str) -> tuple[str, ...] | None:
        """Return codes of regions; None for an unknown term."""
        return self.parts.get(text.upper())

    def code_of_sequence(self, scheme: str, value: str) -> str | None:
        """Return the code if it is of SNOMED CT."""
        return value if scheme == "SCT" else None

    def view_of(self, text: str) -> str | None:
        """Return frontal, lateral or oblique; None for an unknown term."""
        return _VIEWS.get(text.upper())

    def view_of_code(self, scheme: str, value: str) -> str | None:
        """Return the same for a code of SNOMED CT."""
        return _VIEW_CODES.get(value) if scheme == "SCT" else None
