"""The configuration of models: from a file or the environment, located when it is wrong, without secrets in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from perdure_activities.models.config import BadModelsFile, Budget, Deployment, ModelsConfig, spoken
from perdure_fake import Script
from perdure_store.ledger_records import Rates

WHOLE = """
declarations: [acme.yaml]
deployments:
  - name: openai-eu
    provider: langgenius/openai/openai
    base_url: https://eu.gateway.test/v1/
    wire: openai-chat
    credential: {env: OPENAI_EU}
    models: ["gpt-4*", gpt-6-sol]
    rename: {fast: gpt-6-luna}
    weight: 2
    limits: {requests_per_minute: 60, tokens_per_minute: 100000, at_once: 4}
    headers: {X-Team: flows, X-Key: {env: GATEWAY_KEY}}
    tags: [eu]
  - {name: claude, provider: anthropic, credential: {stored: claude-main}}
  - {name: acme, provider: acme, allow_private: true, base_url: "http://10.0.0.1:8000/v1"}
fallbacks:
  - {from: "openai/gpt-*", to: [anthropic/claude-sonnet-5-5, acme/small], on: [unavailable]}
  - {from: "*", to: [acme/small], on: [any]}
budgets:
  - {name: day, per: tenant, match: "acme*", period: day, money: "5.00", tokens: 1000, when_over: wait}
  - {name: all, money: 0.1}
prices:
  acme/small: {input: 0.1, output: "0.2", currency: EUR}
timeouts: {connect_s: 1, first_token_s: 20}
wait_s: 0
"""


@pytest.fixture
def whole(tmp_path: Path) -> ModelsConfig:
    (tmp_path / "acme.yaml").write_text("provider: acme\nbase_url: http://x.test/v1\ndefault_model: {model: any}\n")
    (tmp_path / "models.yaml").write_text(WHOLE)
    return ModelsConfig.read({"PERDURE_MODELS": str(tmp_path / "models.yaml"), "OPENAI_API_KEY": "not-used"})


def test_a_file_says_it_all(whole: ModelsConfig, tmp_path: Path) -> None:
    first = whole.deployments[0]
    assert first.base_url == "https://eu.gateway.test/v1"
    assert first.rates() == Rates(60, 100_000, 4)
    assert (first.served_as("fast"), first.served_as("gpt-4o")) == ("gpt-6-luna", "gpt-4o")
    assert [first.serves(name) for name in ("gpt-4o", "gpt-6-sol", "fast", "gpt-5")] == [True, True, True, False]
    assert (whole.timeouts.connect_s, whole.timeouts.between_s, whole.wait_s) == (1, 30, 0)
    assert whole.declarations == (tmp_path / "acme.yaml",)
    assert whole.source == str(tmp_path / "models.yaml")
    catalog = whole.catalog()
    assert [one.name for one in whole.serving(catalog, "openai", "gpt-4o")] == ["openai-eu"]
    assert [one.name for one in whole.serving(catalog, "langgenius/anthropic/anthropic", "claude-x")] == ["claude"]
    assert whole.serving(catalog, "openai", "gpt-5") == ()
    assert "'openai-eu'" in whole.why_none(catalog, "openai", "gpt-5")
    assert "`models`" in whole.why_none(catalog, "openai", "gpt-5")
    assert "provider: ollama" in whole.why_none(catalog, "ollama", "x")


def test_fallbacks_are_asked_in_order_and_once(whole: ModelsConfig) -> None:
    catalog = whole.catalog()
    assert whole.fallbacks_for(catalog, "langgenius/openai/openai", "gpt-4o", "unavailable") == (
        ("anthropic", "claude-sonnet-5-5"),
        ("acme", "small"),
    )
    assert whole.fallbacks_for(catalog, "openai", "gpt-4o", "content_refused") == (("acme", "small"),)
    assert whole.fallbacks_for(catalog, "acme", "small", "unavailable") == ()


def test_content_is_not_asked_for_elsewhere_unless_told() -> None:
    config = ModelsConfig.model_validate({"fallbacks": [{"from": "*", "to": ["openai/b"]}]})
    catalog = config.catalog()
    assert config.fallbacks_for(catalog, "openai", "a", "rate_limited") == (("openai", "b"),)
    assert config.fallbacks_for(catalog, "openai", "a", "content_refused") == ()


def test_budgets_name_what_is_counted_together(whole: ModelsConfig) -> None:
    day, everything = whole.budgets
    at = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)
    assert (day.nanos, everything.nanos) == (5_000_000_000, 100_000_000)
    assert day.scope("acme-1", at) != day.scope("acme-2", at)
    assert day.scope("acme-1", at) == "day/tenant:acme-1/2026-11-21"
    assert everything.scope("x", at) == everything.scope("y", at) == "all/all"
    assert (day.covers("acme-1"), day.covers("other"), everything.covers("other")) == (True, False, True)
    month = Budget(name="m", tokens=1, period="month")
    assert month.scope("", at) == "m/all/2026-11"
    assert day.ends_at(at) == datetime(2026, 11, 22, tzinfo=UTC).timestamp() * 1000
    for first in (datetime(2026 + n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in range(12, 36)):
        last_ms = month.ends_at(first) or 0
        before, after = (datetime.fromtimestamp((last_ms + ms) / 1000, UTC) for ms in (-1, 0))
        assert month.scope("", before) == month.scope("", first) != month.scope("", after)
        assert month.ends_at(before) == last_ms
    assert everything.ends_at(at) is None
    assert Budget(name="m", money="0.1234567899").nanos == 123_456_789  # type: ignore[arg-type]


def test_the_environment_makes_a_deployment_of_each_key() -> None:
    key = "sk-canary-0123456789"
    assert ModelsConfig.read({}).deployments == ()
    both = ModelsConfig.read({"OPENAI_API_KEY": key, "ANTHROPIC_API_KEY": key})
    assert [one.name for one in both.deployments] == ["openai", "anthropic"]
    assert key not in repr(both) + both.model_dump_json()
    gateway = ModelsConfig.read({"OPENAI_API_KEY": key, "OPENAI_BASE_URL": "http://127.0.0.1:4000/v1"}).deployments[0]
    assert (gateway.base_url, gateway.allow_private) == ("http://127.0.0.1:4000/v1", True)
    assert (
        ModelsConfig.read({"OPENAI_BASE_URL": "https://gateway.example.com/v1"}).deployments[0].allow_private is False
    )
    with pytest.raises(BadModelsFile, match="OPENAI_BASE_URL"):
        ModelsConfig.read({"OPENAI_BASE_URL": "nonsense"})


def test_with_nothing_configured_the_next_step_is_told() -> None:
    config = ModelsConfig.read({})
    text = config.why_none(config.catalog(), "langgenius/openai/openai", "gpt-4o")
    for part in ("'openai'", "'gpt-4o'", "OPENAI_API_KEY", "PERDURE_MODELS", "--demo-model"):
        assert part in text


def test_the_demo_answers_for_every_model() -> None:
    config = ModelsConfig.demo("http://127.0.0.1:1234/v1")
    catalog = config.catalog()
    for provider, model in [
        ("langgenius/openai/openai", "gpt-4o"),
        ("nobody/knows/this", "m"),
        ("anthropic", "claude"),
    ]:
        asked = config.asked(catalog, provider, model)
        assert asked == ("demo", "demo")
        assert [one.name for one in config.serving(catalog, *asked)] == ["demo"]
    assert catalog.provider("demo").simulated
    assert ModelsConfig().asked(catalog, "langgenius/openai/openai", "gpt-4o") == ("openai", "gpt-4o")


def test_thinking_models_of_openai_itself_are_asked_by_responses() -> None:
    catalog = ModelsConfig().catalog()
    provider = catalog.provider("openai")

    def wire(model: str, **given: Any) -> str:
        return spoken(Deployment(name="a", provider="openai", **given), provider, catalog.model("openai", model))

    assert wire("gpt-6-sol") == "openai-responses"
    assert wire("gpt-4o") == "openai-chat"
    assert wire("gpt-6-sol", base_url="https://gateway.test/v1") == "openai-chat"
    assert wire("gpt-4o", wire="openai-responses") == "openai-responses"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("deployments:\n  - {name: a, provider: openai, wieght: 2}\n", 2, "Is `weight` meant?"),
        ("deployments:\n  - name: a\n", 2, "`deployments[0].provider`: it is missing"),
        ("deployments:\n  - {name: a, provider: openai, weight: 0}\n", 2, "deployments[0].weight"),
        ("deployments:\n  - {name: a, provider: p, credential: {env: X, stored: y}}\n", 2, "deployments[0].credential"),
        (
            "deployments:\n  - {name: a, provider: p, credential: sk-canary-0123456789}\n",
            2,
            "deployments[0].credential",
        ),
        ("deployments:\n  - {name: a, provider: p, base_url: ftp://x}\n", 2, "it must be like https://host/v1"),
        (
            "deployments:\n  - {name: a, provider: p, base_url: 'https://u:sk-canary-0123456789@h/v1'}\n",
            2,
            "`credential`",
        ),
        ("deployments:\n- {name: a, provider: p}\n- {name: a, provider: q}\n", 1, "the name 'a' comes twice"),
        ("fallbacks:\n- {from: '*', to: [gpt]}\n", 2, "'gpt' is not `provider/model`"),
        ("budgets:\n- {name: b}\n", 2, "it limits nothing"),
        ("budgets:\n- {name: b, money: lots}\n", 2, "budgets[0].money"),
        ("budgets:\n- {name: b, tokens: 1, per: team}\n", 2, "budgets[0].per"),
        ("prices: {openai/a: {output: 1}}\n", 1, "prices.openai/a.input"),
        ("timeouts: {connect_s: -1}\n", 1, "timeouts.connect_s"),
        ("substitute: {'*': demo}\n", 1, "'demo' is not `provider/model`"),
        ("deployments: {}\n", 1, "deployments"),
        ("deployments: [\n", None, "this is not YAML"),
        ("[]", None, "must hold a mapping"),
    ],
)
def test_what_is_wrong_is_located(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(text)
    with pytest.raises(BadModelsFile) as raised:
        ModelsConfig.read({"PERDURE_MODELS": str(file)})
    told = str(raised.value)
    assert told.startswith(f"{file}:{line}: " if line else str(file)), told
    assert said in told
    assert "canary" not in told


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadModelsFile, match=r"gone\.yaml: the file cannot be read"):
        ModelsConfig.read({"PERDURE_MODELS": str(tmp_path / "gone.yaml")})


def test_the_examples_of_the_docs_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    config, _cached, script, declaration = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert Script.model_validate(yaml.safe_load(script)).steps[0].reply is not None
    (tmp_path / "models.yaml").write_text(config)
    (tmp_path / "acme.yaml").write_text(declaration)
    found = ModelsConfig.of_file(tmp_path / "models.yaml")
    catalog = found.catalog()
    assert catalog.model("acme", "small-2-2026-01-01").known
    assert not catalog.model("acme", "other").known
    for one in found.deployments:
        assert catalog.provider(one.provider)
    for name in [name for fallback in found.fallbacks for name in fallback.to]:
        assert catalog.model(*name.split("/")).known, name
