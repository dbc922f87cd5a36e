"""Declarations: what is shipped, what an operator adds, what another distribution brings."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from perdure_activities.models.declared.load import Catalog, UnknownModel
from perdure_activities.models.declared.problems import BadModelsFile, UnknownProvider
from perdure_activities.models.declared.schema import TEMPLATES, ParameterRule

NOW = datetime(2026, 11, 21, tzinfo=UTC).date()


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load(installed=False)


def test_all_shipped_files_load_and_say_what_models_can_do(catalog: Catalog) -> None:
    providers = {provider.provider: provider for provider in catalog.providers()}
    assert {"openai", "anthropic", "vllm", "ollama", "generic", "demo"} <= set(providers)
    for name in ("openai", "anthropic"):
        for model in providers[name].models:
            if model.model_type == "llm":
                assert model.features, model.model
                assert model.parameter_rules, model.model
                assert (model.model_properties.context_size or 0) >= 4096, model.model
                assert model.model_properties.max_output, model.model
    for name in ("vllm", "ollama", "generic"):
        assert providers[name].configurate_methods == ("customizable-model",)
        assert not catalog.model(name, "whatever:7b").known
    assert catalog.model("openai", "text-embedding-3-small", "text-embedding").model_properties.dimensions == 1536
    assert catalog.model("vllm", "BAAI/bge-reranker-v2-m3", "rerank").known


def test_every_name_of_the_anthropic_sdk_is_declared(catalog: Catalog) -> None:
    from anthropic.types.model_param import ModelParam

    names = [name for part in get_args(ModelParam) for name in get_args(part)]
    assert len(names) > 10
    missing = [n for n in names if n != "claude-mythos-preview" and not catalog.model("anthropic", n).known]
    assert missing == []


def test_current_names_of_the_openai_sdk_are_declared(catalog: Catalog) -> None:
    from openai.types.shared.chat_model import ChatModel

    current = [name for name in get_args(ChatModel) if name.startswith(("gpt-6", "gpt-5.6", "gpt-5.5", "gpt-5.4"))]
    assert len(current) > 10
    assert [name for name in current if not catalog.model("openai", name).known] == []


@pytest.mark.parametrize("written", ["openai", "langgenius/openai/openai", "OpenAI", "someone/openai"])
def test_ids_as_graphs_write_them(catalog: Catalog, written: str) -> None:
    assert catalog.provider(written).provider == "openai"
    assert catalog.same(written, "openai")
    assert catalog.model(written, "gpt-4o").known


def test_ids_of_dify_plugins_find_the_profiles(catalog: Catalog) -> None:
    for plugin, ours in [("openai_api_compatible", "generic"), ("ollama", "ollama"), ("vllm", "vllm")]:
        assert catalog.id_of(f"langgenius/{plugin}/{plugin}") == ours


def test_a_dated_name_is_its_model_and_keeps_its_name(catalog: Catalog) -> None:
    dated, plain = catalog.model("openai", "gpt-4o-2024-11-20"), catalog.model("openai", "gpt-4o")
    assert (dated.model, dated.known) == ("gpt-4o-2024-11-20", True)
    assert dated.model_copy(update={"model": "gpt-4o"}) == plain
    assert (
        catalog.model("anthropic", "claude-haiku-4-5-20251001").features
        == catalog.model("anthropic", "claude-haiku-4-5").features
    )
    # One that was priced differently is a model of its own.
    old = catalog.model("openai", "gpt-4o-2024-05-13").price_at(NOW)
    assert old is not None
    assert old.input == 5


def test_a_tuned_model_can_do_what_its_base_can_and_is_priced_by_itself(catalog: Catalog) -> None:
    tuned = catalog.model("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc")
    assert tuned.features == catalog.model("openai", "gpt-4o-mini").features
    assert (tuned.model, tuned.known, tuned.pricing) == ("ft:gpt-4o-mini-2024-07-18:acme::abc", True, ())


def test_what_new_models_do_not_take_is_not_among_their_features(catalog: Catalog) -> None:
    newest = catalog.model("anthropic", "claude-opus-5-5").features
    assert not {"sampling-params", "prefill", "tool-choice"} & newest
    assert {"mid-system", "adaptive-thinking", "structured-output"} <= newest
    assert "tool-choice" in catalog.model("anthropic", "claude-opus-5").features
    assert {"sampling-params", "prefill"} <= catalog.model("anthropic", "claude-haiku-4-5").features
    assert "sampling-params" not in catalog.model("openai", "gpt-6-sol").features
    assert "sampling-params" in catalog.model("openai", "gpt-4o").features


def test_an_unknown_model_has_the_defaults_of_its_provider_and_says_so(catalog: Catalog) -> None:
    model = catalog.model("openai", "gpt-99")
    assert (model.model, model.known, model.pricing) == ("gpt-99", False, ())
    assert "tool-call" in model.features
    embedding = catalog.model("openai", "embed-99", "text-embedding")
    assert (embedding.known, embedding.features) == (False, frozenset())


@pytest.mark.parametrize("name", ["azure_openai", "langgenius/azure_openai/azure_openai", "../../../etc/passwd", ""])
def test_an_unknown_provider_is_refused_with_the_file_to_write(catalog: Catalog, name: str) -> None:
    with pytest.raises(UnknownProvider) as raised:
        catalog.provider(name)
    text = str(raised.value)
    assert repr(name) in text
    assert f"{name.rpartition('/')[2] or 'NAME'}.yaml" in text
    assert "PERDURE_MODELS" in text
    assert "openai" in text


def test_an_operators_file_adds_a_provider(tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(
        "provider: acme\naliases: [acme-cloud]\nbase_url: https://models.acme.test/v1\nlabel: Acme\n"
        "models:\n"
        "  - model: small\n"
        "    also: ['small-*']\n"
        "    model_properties: {mode: chat, context_size: 4096}\n"
        "    parameter_rules: [{name: json_schema, use_template: json_schema}]\n"
        "    pricing: {input: 0.1, output: '0.3', unit: '0.001', currency: EUR}\n"
    )
    catalog = Catalog.load([file], installed=False)
    model = catalog.model("x/acme-cloud", "small-2")
    assert (catalog.id_of("acme-cloud"), model.known) == ("acme", True)
    assert model.features == {"structured-output"}
    price = model.price_at(NOW)
    assert price is not None
    assert (str(price.input), str(price.unit), price.currency) == ("0.1", "0.001", "EUR")
    with pytest.raises(UnknownModel, match="'acme' has no llm model 'large'; there are: small"):
        catalog.model("acme", "large")


def test_an_operators_file_changes_a_shipped_provider(tmp_path: Path) -> None:
    file = tmp_path / "openai.yaml"
    file.write_text(
        "provider: openai\nmodels:\n"
        "  - {model: gpt-4o, features: [vision], model_properties: {context_size: 1000}}\n"
        "  - {model: in-house}\n"
    )
    catalog = Catalog.load([file], installed=False)
    assert catalog.model("openai", "gpt-4o").features == {"vision"}
    assert catalog.model("openai", "in-house").known
    assert catalog.model("openai", "gpt-4o-mini").known
    assert catalog.provider("openai").base_url == "https://api.openai.com/v1"
    assert Catalog.load(installed=False).model("openai", "gpt-4o").features != {"vision"}


def test_a_rule_that_says_zero_or_null_wins_over_its_template() -> None:
    zero = ParameterRule.model_validate({"name": "top_k", "use_template": "top_k", "default": 0, "min": 0})
    assert (zero.default, zero.min, zero.max) == (0, 0, TEMPLATES["top_k"]["max"])
    free = ParameterRule.model_validate({"name": "max_tokens", "use_template": "max_tokens", "max": None})
    assert (free.max, free.min, free.type) == (None, 1, "int")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("provider: acme\nmodells: []\n", ":2: `modells`: there is no such field. Is `models` meant?"),
        ("provider: acme\nmodels:\n  - model: a\n    features: [vison]\n", ":4: `models[0].features[0]`"),
        ("provider: acme\nmodels:\n  - label: a\n", ":3: `models[0].model`: it is missing"),
        (
            "provider: acme\nmodels:\n  - model: a\n    parameter_rules: [{name: t, use_template: temprature}]\n",
            "there is no template 'temprature'",
        ),
        ("provider: acme\nmodels:\n  - model: a\n    pricing: {input: -1}\n", "models[0].pricing[0].input"),
        ("provider: acme\nprovider: b\n", ":2: the key 'provider' occurs twice"),
        ("- 1\n", "must hold a mapping"),
        ("provider: acme\nmodels: !!python/object:os.system {}\n", "is not allowed"),
    ],
)
def test_a_file_that_is_wrong_is_located(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(text)
    with pytest.raises(BadModelsFile) as raised:
        Catalog.load([file], installed=False).provider("acme")
    assert str(file) in str(raised.value)
    assert said in str(raised.value)


def test_a_missing_file_is_named_when_it_is_needed(tmp_path: Path) -> None:
    catalog = Catalog.load([tmp_path / "gone.yaml"], installed=False)
    with pytest.raises(BadModelsFile, match=r"gone\.yaml: the file cannot be read"):
        catalog.provider("openai")


def test_another_distribution_brings_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "acme_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[perdure.providers]\nacme = acme_models_of_test:declarations\n")
    (tmp_path / "acme_models_of_test.py").write_text(
        "from pathlib import Path\n\n"
        "def declarations():\n    return [Path(__file__).with_name('acme.yaml'), {'provider': 'b2'}]\n"
    )
    (tmp_path / "acme.yaml").write_text("provider: acme\nbase_url: https://acme.test/v1\ndefault_model: {model: any}\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        catalog = Catalog.load()
        assert not catalog.model("acme", "m").known
        assert catalog.provider("b2").provider == "b2"
        (info / "entry_points.txt").write_text("[perdure.providers]\nbroken = acme_models_of_test:nothing\n")
        with pytest.raises(BadModelsFile, match="entry point 'broken' of acme-models cannot be loaded"):
            Catalog.load().provider("acme")
    finally:
        sys.modules.pop("acme_models_of_test", None)
