"""What a declaration says: a provider, its credentials, its models, their parameters and prices.

The names are Dify's where Dify has one. Prices are decimals per `unit` tokens; sizes are tokens.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, field_validator, model_validator

from ..protocol import Wire

ModelType = Literal["llm", "text-embedding", "rerank", "speech2text", "moderation", "tts"]
Feature = Literal[
    "tool-call",
    "multi-tool-call",
    "stream-tool-call",
    "agent-thought",
    "vision",
    "document",
    "audio",
    "video",
    "structured-output",
    "polling",
    "sampling-params",
    "stop-words",
    "reasoning-effort",
    "adaptive-thinking",
    "thinking",
    "prompt-cache",
    "strict-tools",
    "tool-choice",
    "mid-system",
    "prefill",
    "responses-api",
]
# `json` is ours: any value, as it is.
ParameterType = Literal["float", "int", "string", "boolean", "text", "json"]
CredentialType = Literal["text-input", "secret-input", "select", "radio", "switch"]
Profile = Literal["openai", "anthropic", "vllm", "ollama", "generic"]

PER_MILLION = Decimal("0.000001")


def _by_language(value: object) -> object:
    return {"en_US": value} if isinstance(value, str) else value


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


# YAML reads a bare 0.1 as a binary number; its decimal text is what was written.
Money = Annotated[Decimal, BeforeValidator(_as_text), Field(ge=0, allow_inf_nan=False, max_digits=30)]
Text = Annotated[dict[str, str], BeforeValidator(_by_language)]


class Declared(BaseModel):
    """Base of all parts of a declaration."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)


class Option(Declared):
    """A choice of a credential field; shown when all of `show_on` match."""

    label: Text = Field(default_factory=dict)
    value: str
    show_on: tuple[ShownOn, ...] = ()


class ShownOn(Declared):
    """A condition: another field has this value."""

    variable: str
    value: str


class CredentialField(Declared):
    """One field of a credential. `max_length` 0 is without limit. A field that is hidden is not checked."""

    variable: str
    label: Text = Field(default_factory=dict)
    type: CredentialType = "text-input"
    required: bool = True
    default: str | None = None
    options: tuple[Option, ...] = ()
    placeholder: Text = Field(default_factory=dict)
    help: Text = Field(default_factory=dict)
    max_length: int = Field(default=0, ge=0)
    show_on: tuple[ShownOn, ...] = ()


class CredentialSchema(Declared):
    """The fields of a credential; of a model's, also how its name is asked for."""

    credential_form_schemas: tuple[CredentialField, ...] = ()
    model: JsonValue = None


class ParameterRule(Declared):
    """What a parameter may be. A field that is set wins over that of the template, also when it is 0 or null."""

    name: str
    use_template: str | None = None
    label: Text = Field(default_factory=dict)
    type: ParameterType
    help: Text = Field(default_factory=dict)
    required: bool = False
    default: JsonValue = None
    min: float | None = None
    max: float | None = None
    precision: int | None = Field(default=None, ge=0)
    options: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _templated(cls, value: Any) -> Any:
        if not isinstance(value, dict) or (name := cast("dict[str, Any]", value).get("use_template")) is None:
            return cast("Any", value)
        if name not in TEMPLATES:
            raise ValueError(f"there is no template {name!r}; there are {', '.join(TEMPLATES)}")
        return {**TEMPLATES[name], **cast("dict[str, Any]", value)}


TEMPLATES: dict[str, dict[str, Any]] = {
    "temperature": {"type": "float", "default": 0.0, "min": 0.0, "max": 1.0, "precision": 2},
    "top_p": {"type": "float", "default": 1.0, "min": 0.0, "max": 1.0, "precision": 2},
    "top_k": {"type": "int", "default": 50, "min": 1, "max": 100, "precision": 0},
    "presence_penalty": {"type": "float", "default": 0.0, "min": 0.0, "max": 1.0, "precision": 2},
    "frequency_penalty": {"type": "float", "default": 0.0, "min": 0.0, "max": 1.0, "precision": 2},
    "max_tokens": {"type": "int", "default": 64, "min": 1, "max": 2048, "precision": 0},
    "response_format": {"type": "string", "options": ["JSON", "XML"]},
    "json_schema": {"type": "text"},
}


class Rates(Declared):
    """Prices. What is not set costs as much as what it is a part of: the cache as input, reasoning as output."""

    input: Money
    output: Money = Decimal(0)
    cache_read: Money | None = None
    cache_write: Money | None = None
    cache_write_1h: Money | None = None
    reasoning: Money | None = None


class Tier(Rates):
    """Prices of a whole call whose prompt has more than `above_tokens`."""

    above_tokens: int = Field(ge=0)


class Pricing(Rates):
    """Prices from a day on (UTC). `source` says where they are from, `version` of when."""

    unit: Money = PER_MILLION
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    tiers: tuple[Tier, ...] = ()
    valid_from: date | None = None
    source: str = ""
    version: str = ""

    @field_validator("tiers")
    @classmethod
    def _ascending(cls, value: tuple[Tier, ...]) -> tuple[Tier, ...]:
        return tuple(sorted(value, key=lambda tier: tier.above_tokens))

    def rates(self, prompt: int) -> Rates:
        """Give the prices for a prompt of so many tokens."""
        return next((tier for tier in reversed(self.tiers) if prompt > tier.above_tokens), self)


class ModelProperties(Declared):
    """What a model can take in. `context_size` is prompt and answer together, `max_output` the answer."""

    mode: Literal["chat", "completion"] = "chat"
    context_size: int | None = Field(default=None, ge=1)
    max_output: int | None = Field(default=None, ge=1)
    max_chunks: int | None = Field(default=None, ge=1)
    dimensions: int | None = Field(default=None, ge=1)
    file_upload_limit: int | None = None
    supported_file_extensions: str | None = None
    max_characters_per_chunk: int | None = None
    default_voice: str | None = None
    voices: JsonValue = None
    word_limit: int | None = None
    audio_type: str | None = None
    max_workers: int | None = None


def _listed(value: object) -> object:
    return [cast("dict[str, Any]", value)] if isinstance(value, dict) else value


class ModelDeclaration(Declared):
    """A model.

    also: further names of the same model, as globs; names with a date at the end are found by themselves.
    wire: which protocol it is spoken to, where that is not the provider's.
    tokenizer: whose tokens are counted; `estimate` where nobody tells. token_factor: times so many.
    deprecated: whether it is about to end; `retires` says when.
    known: whether a file names it; False where these are only its provider's defaults.
    """

    model: str
    label: Text = Field(default_factory=dict)
    model_type: ModelType = "llm"
    features: frozenset[Feature] = frozenset()
    fetch_from: Literal["predefined-model", "customizable-model"] = "predefined-model"
    model_properties: ModelProperties = ModelProperties()
    deprecated: bool = False
    retires: date | None = None
    parameter_rules: tuple[ParameterRule, ...] = ()
    pricing: Annotated[tuple[Pricing, ...], BeforeValidator(_listed)] = ()
    also: tuple[str, ...] = ()
    wire: Wire | None = None
    tokenizer: Literal["o200k_base", "cl100k_base", "voyage3_base", "estimate"] = "estimate"
    token_factor: float = Field(default=1.0, gt=0, le=10)
    known: bool = True

    @model_validator(mode="before")
    @classmethod
    def _structured(cls, value: Any) -> Any:
        # As in Dify: a rule for a schema tells that the model takes one, but only where nothing else is told.
        if not isinstance(value, dict):
            return value
        data = cast("dict[str, Any]", value)
        rules: Any = data.get("parameter_rules")
        if "features" not in data and isinstance(rules, list):
            named = [cast("dict[str, Any]", rule) for rule in cast("list[Any]", rules) if isinstance(rule, dict)]
            if any(rule.get("name") == "json_schema" for rule in named):
                return {**data, "features": ["structured-output"]}
        return data

    def price_at(self, day: date) -> Pricing | None:
        """Give the prices of a day: the latest that have begun, else the oldest."""
        ordered = sorted(self.pricing, key=lambda pricing: pricing.valid_from or date.min)
        begun = [pricing for pricing in ordered if (pricing.valid_from or date.min) <= day]
        return (begun or ordered)[-1 if begun else 0] if ordered else None


class ProviderDeclaration(Declared):
    """A provider.

    aliases: further ids that graphs use for it.
    wire, base_url, profile: how and where its models are spoken to, unless a deployment says otherwise.
    api_key: the credential's field that is sent as the key. api_key_env: variable that holds it by custom.
    unknown_parameters: whether parameters without a rule are sent on as they are, or dropped with a note.
    default_model: what is taken for true of a model that no file names; without it such a model is refused.
    check_path: what a credential is tried on, below the base URL.
    """

    provider: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    aliases: tuple[str, ...] = ()
    label: Text = Field(default_factory=dict)
    description: Text = Field(default_factory=dict)
    help: JsonValue = None
    icon_small: JsonValue = None
    icon_large: JsonValue = None
    icon_small_dark: JsonValue = None
    icon_large_dark: JsonValue = None
    background: str | None = None
    supported_model_types: tuple[ModelType, ...] = ("llm",)
    configurate_methods: tuple[Literal["predefined-model", "customizable-model"], ...] = ("predefined-model",)
    provider_credential_schema: CredentialSchema = CredentialSchema()
    model_credential_schema: CredentialSchema | None = None
    position: JsonValue = None
    models: tuple[ModelDeclaration, ...] = ()
    wire: Wire = "openai-chat"
    base_url: str = ""
    profile: Profile = "generic"
    api_key: str = "api_key"
    api_key_env: str | None = None
    allow_private: bool = False
    unknown_parameters: Literal["keep", "drop"] = "keep"
    default_model: ModelDeclaration | None = None
    check_path: str = "models"
    simulated: bool = False

    @property
    def fields(self) -> tuple[CredentialField, ...]:
        """Fields of its credential; those of its models' where it has no own."""
        schema = self.provider_credential_schema
        if not schema.credential_form_schemas and self.model_credential_schema is not None:
            schema = self.model_credential_schema
        return schema.credential_form_schemas

    @property
    def needs_key(self) -> bool:
        """Whether it cannot be asked without a key."""
        return any(field.variable == self.api_key and field.required for field in self.fields)


Option.model_rebuild()
