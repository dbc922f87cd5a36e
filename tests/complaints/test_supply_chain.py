"""Complaint 37: a dependency that steals credentials when the interpreter starts. The tree is locked, and small."""

from __future__ import annotations

import re
import sys
import sysconfig
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from perdure_worker.embedded import EmbeddedStack

ROOT = Path(__file__).parents[2]
SITE = Path(sysconfig.get_path("purelib"))
# Gateways hold the keys of all providers, and pull a tree of their own.
GATEWAYS = re.compile(r"^(litellm|langchain|llama[-_]index|portkey|aisuite)", re.IGNORECASE)
OURS = {"perdure", "perdure-bench-nodes"}
MOST_PACKAGES = 110


def locked() -> dict[str, dict[str, Any]]:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    return {package["name"]: package for package in lock["package"]}


def needed(packages: dict[str, dict[str, Any]], extras: tuple[str, ...]) -> set[str]:
    """What an installation of the project with extras consists of, by the lock."""
    root = packages["perdure"]
    asked = [*root["dependencies"], *(each for extra in extras for each in root["optional-dependencies"][extra])]
    found: set[str] = set()
    while asked:
        package = asked.pop()
        name = package["name"]
        wanted = packages[name].get("optional-dependencies", {})
        asked += [each for extra in package.get("extra", []) for each in wanted.get(extra, [])]
        if name not in found:
            found.add(name)
            asked += packages[name].get("dependencies", [])
    return found


def test_complaint_37_every_dependency_is_locked_by_its_hash() -> None:
    for name, package in locked().items():
        if name in OURS:
            continue
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files, name
        assert all(file["hash"].startswith("sha256:") for file in files), name
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"sync .*--(locked|frozen)", makefile), "the project is set up from the lock"


def test_complaint_37_the_tree_of_a_worker_is_small_and_has_no_gateway() -> None:
    tree = needed(locked(), ("worker",))
    assert {"temporalio", "openai", "anthropic"} <= tree
    assert not [name for name in tree if GATEWAYS.match(name)]
    assert len(tree) <= MOST_PACKAGES


def test_complaint_37_no_dependency_runs_code_when_the_interpreter_starts() -> None:
    startup: list[str] = []
    for found in distributions():
        name = (found.metadata["Name"] or "").lower()
        if name in OURS:
            continue
        for file in found.files or ():
            if file.name in ("sitecustomize.py", "usercustomize.py") and len(file.parts) == 1:
                startup.append(str(file))
            elif file.suffix == ".pth" and len(file.parts) == 1:
                lines = Path(str(found.locate_file(file))).read_text(encoding="utf-8").splitlines()
                startup += [f"{name}: {line}" for line in lines if line.startswith("import")]
    assert startup == []


async def test_complaint_37_a_worker_loads_native_code_of_locked_packages_only(stack: EmbeddedStack) -> None:
    maps = Path(f"/proc/{stack.worker_pids[0]}/maps").read_text(encoding="utf-8")
    loaded = {Path(line.split(maxsplit=5)[5]) for line in maps.splitlines() if line.endswith(".so") and "/" in line}
    inside = {path.relative_to(SITE) for path in loaded if path.is_relative_to(SITE)}
    assert inside, "a worker loads temporalio's bridge at least"
    packages = locked()
    owner = {str(file): found for found in distributions() for file in found.files or ()}
    for path in inside:
        name = re.sub(r"[-_.]+", "-", owner[str(path)].metadata["Name"]).lower()
        assert name in packages, path
        assert packages[name]["version"] == owner[str(path)].version or sys.prefix != str(ROOT / ".venv"), path
        assert not GATEWAYS.match(name), path
