"""The settings in force, as rows of a table: name, value, meaning, and whether it differs from the default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from recon.report.context import SettingGroup, SettingRow
from recon.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from recon.report.mask import Veil

_LIMIT = 600


def shown_value(value: object) -> str:
    """A value of JSON as a reader sees it; a secret never is one, since settings only name where secrets are."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown_value(item) for item in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{name} = {shown_value(item)}" for name, item in value.items()) or "none"
    return str(value) or "empty"


def setting_groups(values: Mapping[str, Any], veil: Veil) -> tuple[SettingGroup, ...]:
    """The manifest's settings, section by section, with the meaning of each: the policy first, the rest in the order of recon.toml."""
    defaults = dict(_flat(Settings().model_dump(mode="json")))
    meanings = dict(_meanings(Settings))
    # A manifest's keys are sorted by name; recon.toml's order is the one that its readers know.
    place = {name: number for number, name in enumerate(meanings)}
    groups: dict[str, list[SettingRow]] = {}
    for name, value in sorted(_flat(values), key=lambda pair: (place.get(pair[0], len(place)), pair[0])):
        section, _, own = name.rpartition(".")
        groups.setdefault(section, []).append(
            SettingRow(
                name=own,
                value=veil.text(shown_value(value), _LIMIT),
                changed=name not in defaults or defaults[name] != value,
                meaning=meanings.get(name, ""),
            )
        )
    ordered = sorted(groups, key=lambda name: name.partition(".")[0] != "policy")
    return tuple(SettingGroup(name, tuple(groups[name])) for name in ordered)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    sections = _section_names(Settings)
    for name, value in values.items():
        path = prefix + name
        if path in sections and isinstance(value, dict):
            yield from _flat(value, path + ".")
        else:
            yield path, value


def _section_names(model: type[BaseModel], prefix: str = "") -> set[str]:
    names = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= {prefix + name} | _section_names(kind, prefix + name + ".")
    return names


def _meanings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _meanings(kind, prefix + name + ".")
        else:
            yield prefix + name, field.description or ""
