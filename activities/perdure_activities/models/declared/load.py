"""The catalog: finds declarations by the ids and names that graphs use. A file is read when first needed, and once."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, cast

from perdure_graph.errors import PlatformError

from ..recent import MOST
from .problems import BadModelsFile, UnknownProvider, mapping, read_mapping, validated
from .schema import ModelDeclaration, ModelType, ProviderDeclaration

ENTRY_POINTS = "perdure.providers"

_HERE = Path(__file__).parent
# A tuned model: `ft:gpt-4o-mini-2024-07-18:acme::id`.
_TUNED = re.compile(r"ft:([^:]+)(?::.*)?")
_DATED = re.compile(r"[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


class UnknownModel(PlatformError):
    """The provider declares neither the model nor what is true of others."""

    code: ClassVar[str] = "unknown_model"
    retryable: ClassVar[bool] = False


class Catalog:
    """Providers and models by id and name. Make it with `load`."""

    def __init__(self, later: Callable[[], Sequence[ProviderDeclaration]]) -> None:
        self._later = functools.cache(later)
        self._found = functools.lru_cache(maxsize=MOST)(self._find)
        self._models = functools.lru_cache(maxsize=MOST)(self._find_model)

    @classmethod
    def load(cls, extra_files: Iterable[str | Path] = (), *, installed: bool = True) -> Catalog:
        """Make a catalog of our files, those of other distributions, and the operator's, which win in this order.

        installed: whether distributions may bring providers (entry points `perdure.providers`).
        """
        files = tuple(Path(file).expanduser() for file in extra_files)

        def later() -> list[ProviderDeclaration]:
            brought = [found for entry in _entries() for found in _brought(entry)] if installed else []
            return [*brought, *(read_declaration(file) for file in files)]

        return cls(later)

    def provider(self, provider_id: str) -> ProviderDeclaration:
        """Find a provider by its id, as a graph writes it: `openai` and `langgenius/openai/openai` are one.

        Raises:
            UnknownProvider: no file declares it.
            BadModelsFile: a file that is needed for that cannot be read.
        """
        if (found := self._found(provider_id)) is not None:
            return found
        name = _short(provider_id) or "NAME"
        known = ", ".join(sorted(declared.provider for declared in self.providers()))
        raise UnknownProvider(
            f"the provider {provider_id!r} is not declared; there are {known}. Choose one of them in the node, or "
            f"write a file {name}.yaml that says `provider: {name}` with its base URL and models, and list it under "
            "`declarations` in the file named by PERDURE_MODELS (docs/models.md)."
        )

    def model(self, provider_id: str, name: str, model_type: ModelType = "llm") -> ModelDeclaration:
        """Find a model of a provider; one that no file names gets the provider's defaults, with `known` False.

        Raises:
            UnknownProvider: no file declares the provider.
            UnknownModel: its provider takes only models that are declared.
        """
        return self._models(provider_id, name, model_type)

    def same(self, one: str, other: str) -> bool:
        """Whether two ids name the same provider; ids that nothing declares are compared as they are."""
        return self.id_of(one) == self.id_of(other)

    def id_of(self, provider_id: str) -> str:
        """Give the plain id of a provider, also of one that is not declared."""
        try:
            return self.provider(provider_id).provider
        except UnknownProvider:
            return _short(provider_id)

    def providers(self) -> tuple[ProviderDeclaration, ...]:
        """Give all providers, by id."""
        names = {file.stem for file in _HERE.glob("*.yaml")} | {later.provider for later in self._later()}
        found = [self._merged(name) for name in sorted(names)]
        return tuple(declared for declared in found if declared is not None)

    def _find(self, provider_id: str) -> ProviderDeclaration | None:
        short = _short(provider_id)
        if (found := self._merged(short)) is not None:
            return found
        wanted = {provider_id, short}
        return next((declared for declared in self.providers() if wanted & {*declared.aliases}), None)

    def _find_model(self, provider_id: str, name: str, model_type: ModelType) -> ModelDeclaration:
        return _model_of(self.provider(provider_id), name, model_type)

    def _merged(self, name: str) -> ProviderDeclaration | None:
        found = _shipped(name)
        for later in self._later():
            if later.provider == name:
                found = later if found is None else _over(found, later)
        return found


def read_declaration(file: Path) -> ProviderDeclaration:
    """Read a declaration from its file.

    Raises:
        BadModelsFile: it cannot be read, or says something that a declaration cannot.
    """
    reading = read_mapping(file)
    data = {key: value for key, value in reading.data.items() if not key.startswith("x-")}
    return validated(ProviderDeclaration, data, file, reading)


@functools.lru_cache(maxsize=MOST)
def _shipped(name: str) -> ProviderDeclaration | None:
    file = _HERE / f"{name}.yaml"
    # The name comes from a graph: it must not lead out of this folder.
    return read_declaration(file) if re.fullmatch(r"[a-z0-9_-]+", name) and file.is_file() else None


def _over(base: ProviderDeclaration, later: ProviderDeclaration) -> ProviderDeclaration:
    """Lay what a later file says over what is known: its fields replace, its models are added or replace by name."""
    changed = {name: getattr(later, name) for name in later.model_fields_set - {"provider", "models", "aliases"}}
    models = {(model.model_type, model.model): model for model in (*base.models, *later.models)}
    aliases = (*base.aliases, *later.aliases)
    return base.model_copy(update={**changed, "models": tuple(models.values()), "aliases": aliases})


def _model_of(provider: ProviderDeclaration, name: str, model_type: ModelType) -> ModelDeclaration:
    models = [model for model in provider.models if model.model_type == model_type]
    tuned = _TUNED.fullmatch(name)
    base = tuned[1] if tuned else name
    for wanted in (base, _DATED.sub("", base)):
        for model in models:
            if wanted == model.model or any(fnmatchcase(wanted, glob) for glob in model.also):
                # One that was tuned is priced by itself.
                return model.model_copy(update={"model": name, **({"pricing": ()} if tuned else {})})
    if provider.default_model is None:
        known = ", ".join(model.model for model in models) or "none"
        raise UnknownModel(
            f"{provider.provider!r} has no {model_type} model {name!r}; there are: {known}. Choose one of them in the "
            "node, or declare it in a file listed under `declarations` (docs/models.md)."
        )
    of_others = {} if model_type == "llm" else {"features": frozenset[str](), "parameter_rules": (), "pricing": ()}
    return provider.default_model.model_copy(
        update={
            "model": name,
            "model_type": model_type,
            "known": False,
            "fetch_from": "customizable-model",
            **of_others,
        }
    )


def _short(provider_id: str) -> str:
    return provider_id.strip().rpartition("/")[2].lower()


def _entries() -> list[EntryPoint]:
    return sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)


def _brought(entry: EntryPoint) -> list[ProviderDeclaration]:
    """Take what an entry point gives: a declaration, its data, the path of its file, a list or function of these."""
    whose = f"the entry point {entry.name!r} of {entry.dist.name if entry.dist else 'a distribution'}"
    try:
        given = entry.load()
        given = given() if callable(given) and not isinstance(given, type) else given
    except Exception as error:
        raise BadModelsFile(f"{whose} cannot be loaded ({type(error).__name__}). Update or uninstall it.") from error
    several = cast("list[Any]", given) if isinstance(given, list | tuple) else [given]
    return [_one_of(one, whose) for one in several]


def _one_of(given: Any, whose: str) -> ProviderDeclaration:
    match given:
        case ProviderDeclaration():
            return given
        case str() | Path():
            return read_declaration(Path(given))
        case dict():
            return validated(ProviderDeclaration, mapping(given), Path(whose), None)
        case _:
            raise BadModelsFile(f"{whose} gives no declaration and no path of one, but a {type(given).__name__}.")
