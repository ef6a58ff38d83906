"""``NAME[:KEY=VALUE,...][@WEIGHTS]``: how a user writes a model, and what its card says to the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from imdl_bench.cards import ModelCard, SettingCard
from imdl_bench.errors import UsageError, nearest


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as a user writes it: its name, settings that are not the card's defaults, and its weights."""

    name: str
    settings: tuple[tuple[str, Any], ...] = ()
    weights: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Settings stay text until :meth:`checked`. Raises UsageError for a setting without a value."""
        model, _, weights = text.partition("@")
        name, _, written = model.partition(":")
        settings = []
        for part in written.split(",") if written else []:
            key, equals, value = part.partition("=")
            if not equals:
                raise UsageError(f"{text}: setting {part!r} has no value; write {name}:KEY=VALUE,KEY=VALUE@WEIGHTS")
            settings.append((key.strip(), value.strip()))
        for key, _ in settings:
            if [other for other, _ in settings].count(key) > 1:
                raise UsageError(f"{text}: setting {key!r} is given twice")
        return cls(name, tuple(settings), weights or None)

    def checked(self, card: ModelCard) -> ModelSpec:
        """The same with typed settings, in the card's order, defaults left out: one model has one spelling."""
        written = {key: _from_text(value, card.settings.get(key)) for key, value in self.settings}
        full = checked_settings(card, written)
        changed = {key: value for key, value in full.items() if value != card.settings[key].default}
        settings = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in changed.items())
        return ModelSpec(self.name, settings, self.weights)

    @property
    def model(self) -> str:
        """The name with its settings, as in tables."""
        settings = ",".join(f"{key}={_to_text(value)}" for key, value in self.settings)
        return f"{self.name}:{settings}" if settings else self.name

    def __str__(self) -> str:
        return f"{self.model}@{self.weights}" if self.weights else self.model


def checked_settings(card: ModelCard, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of the card, given ones over defaults. Raises UsageError for unknown keys and values."""
    for key in given:
        if key not in card.settings:
            known = ", ".join(card.settings) or "it has none"
            raise UsageError(f"{card.name} has no setting {key!r}{nearest(key, card.settings)} (settings: {known})")
    return {key: _checked(card.name, key, setting, given.get(key, setting.default)) for key, setting in card.settings.items()}  # fmt: skip  # noqa: E501


def _checked(model: str, key: str, setting: SettingCard, value: Any) -> Any:
    if isinstance(setting.default, list):
        if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple, set, frozenset)):
            raise UsageError(f"{model}: setting {key!r} takes a list, not {value!r}")
        for each in value:
            if each not in setting.choices:
                raise UsageError(f"{model}: setting {key!r} takes {_listed(setting.choices)}, not {each!r}")
        return [choice for choice in setting.choices if choice in value]
    if isinstance(setting.default, float) and type(value) is int:
        value = float(value)
    if setting.choices and not any(type(value) is type(choice) and value == choice for choice in setting.choices):
        raise UsageError(f"{model}: setting {key!r} is one of {_listed(setting.choices)}, not {value!r}")
    if type(value) is not type(setting.default) and not setting.choices:
        raise UsageError(f"{model}: setting {key!r} is {type(setting.default).__name__}, not {value!r}")
    return value


def _from_text(value: Any, setting: SettingCard | None) -> Any:
    if setting is None or not isinstance(value, str):
        return value
    if isinstance(setting.default, list):
        return [_parsed(part) for part in value.split("+") if part]
    return value if isinstance(setting.default, str) else _parsed(value)


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def _to_text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _listed(choices: list[Any]) -> str:
    return ", ".join(map(repr, choices))
