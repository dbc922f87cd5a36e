"""All conformance cases through the door that users have: `perdure test`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CONFORMANCE = Path(__file__).parents[2].parent / "shared" / "conformance"
FOLDERS = ("dify", "rules", "random")


@pytest.mark.skipif(not CONFORMANCE.exists(), reason="the conformance data is not beside this clone")
@pytest.mark.timeout(300)
def test_every_case_passes_on_the_embedded_stack() -> None:
    command = [sys.executable, "-m", "perdure.cli", "test", *(str(CONFORMANCE / name) for name in FOLDERS), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["failures"] == []
    assert done.returncode == 0
    expected = [
        case
        for name in FOLDERS
        for file in (CONFORMANCE / name).rglob("*.cases.json")
        for case in json.loads(file.read_text())["cases"]
    ]
    skipped = sum(1 for case in expected if case.get("oracle") == "skip")
    assert (summary["passed"], summary["skipped"]) == (len(expected) - skipped, skipped)
