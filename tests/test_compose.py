"""docker-compose.yml against the official Compose schema (as `check-jsonschema` ships it), and our own rules for it."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError, validate

from perdure_activities.files import FileSettings
from perdure_graph.naming import SEARCH_ATTRIBUTES, TASK_QUEUE
from perdure_worker.server import DYNAMIC_CONFIG
from perdure_worker.settings import ENV_PREFIX, WorkerSettings

# Keys of providers, as their SDKs call them: handed on from whoever calls `docker compose`.
PROVIDERS = {"OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"}
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    pytest.importorskip("check_jsonschema", reason="the Compose schema comes from check-jsonschema (dev group)")
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    return json.loads((folder / "compose-spec.json").read_text())


def test_file_fits_the_official_schema(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    validate(compose, schema)


def test_schema_check_can_fail(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    broken = {**compose, "services": {**compose["services"], "worker": {"build": ".", "prots": ["1:1"]}}}
    with pytest.raises(ValidationError, match="prots"):
        validate(broken, schema)


def test_every_port_is_bound_to_loopback(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not str(port).startswith("127.0.0.1:")] == []


def test_every_image_has_an_exact_tag(compose: dict[str, Any]) -> None:
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    assert len(images) >= 4
    assert [image for image in images if not re.search(r":\d+\.\d+(\.\d+)?$", image)] == []


def test_dependencies_exist_and_are_waited_for(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], needed


def test_named_volumes_and_configs_are_declared(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source, *rest = volume.split(":")
            # A folder of the host is only read.
            assert rest[1:] == ["ro"] if source.startswith("./") else source in compose["volumes"]
        for config in service.get("configs", ()):
            assert config["source"] in compose["configs"]


def test_worker_variables_are_settings_the_worker_knows(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = compose["services"]["worker"]["environment"]
    known = {*WorkerSettings.model_fields, *FileSettings.model_fields}
    for key, value in environment.items():
        assert key in PROVIDERS or key.removeprefix(ENV_PREFIX).lower() in known, key
        if value is not None:
            monkeypatch.setenv(key, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
    settings = WorkerSettings()
    assert (settings.address, settings.task_queue, settings.models) == ("temporal:7233", TASK_QUEUE, None)
    grace = int(compose["services"]["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > settings.graceful_shutdown_s


def test_keys_come_from_outside_and_the_models_file_from_a_folder_that_is_only_read(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    secret = {"PERDURE_KEYS", *PROVIDERS}
    assert {worker["environment"][name] for name in secret} == {None}, "no key is written down"
    assert worker["environment"]["PERDURE_MODELS"] == "${PERDURE_MODELS:-}"
    assert "./models:/models:ro" in worker["volumes"]
    assert worker["env_file"] == [{"path": "models/keys.env", "required": False}]


def test_setup_registers_every_search_attribute_under_its_type(compose: dict[str, Any]) -> None:
    (script,) = compose["services"]["temporal-setup"]["command"]
    assert dict(re.findall(r"^add (\w+) (\w+)$", script, re.MULTILINE)) == SEARCH_ATTRIBUTES


def test_dynamic_config_uses_keys_and_values_of_the_embedded_server(compose: dict[str, Any]) -> None:
    embedded = {key: value for key, _, value in (entry.partition("=") for entry in DYNAMIC_CONFIG)}
    content = yaml.safe_load(compose["configs"]["temporal-dynamic-config"]["content"])
    assert content
    for key, values in content.items():
        assert embedded[key] == str(values[0]["value"])
