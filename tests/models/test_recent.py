"""What is keyed by names that graphs choose stays small."""

from __future__ import annotations

from collections.abc import Sized
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fakes.adapters import bench, says
from perdure_activities.models.failover import Target
from perdure_activities.models.recent import MOST, Recent


def test_what_was_not_used_for_longest_is_dropped() -> None:
    recent: Recent[str, int] = Recent(2)
    assert [recent.setdefault(name, n) for n, name in enumerate("aba")] == [0, 1, 0]
    assert recent.setdefault("c", 3) == 3
    assert [recent.get(name) for name in "abc"] == [0, None, 3]
    assert len(recent) == 2


def test_what_is_old_is_dropped_however_much_it_is_used() -> None:
    now = 0.0
    recent: Recent[str, int] = Recent(lasts_s=10.0, clock=lambda: now)
    recent.setdefault("a", 1)
    now = 9.9
    assert recent.get("a") == 1
    now = 10.0
    assert recent.get("a") is None
    assert recent.setdefault("a", 2) == 2
    now = 19.9
    assert recent.get("a") == 2


async def test_a_worker_forgets_the_names_that_graphs_made_up(tmp_path: Path) -> None:
    async with bench(tmp_path, {"a": [says("a")]}) as b:
        runtime = b.runtime
        for n in range(MOST + 50):
            name = f"made-up-{n}"
            runtime.learned("a", name).add("top_k")
            runtime.counters.counter_for("openai", name)
            runtime.prices.listed("openai", name, datetime.now(UTC))
            runtime.catalog.id_of(name)
        await runtime.warming.load(Target("openai", "made-up-0"), "openai-chat")
        kept: list[Sized] = [runtime._learned, runtime.counters._counters]  # pyright: ignore
        assert [len(one) for one in kept] == [MOST, MOST]
        caches = [runtime.prices._elsewhere, runtime.catalog._models, runtime.catalog._found]  # pyright: ignore
        assert [cache.cache_info().currsize for cache in caches] == [MOST, MOST, MOST]
        assert runtime.learned("a", f"made-up-{MOST + 49}") == {"top_k"}
        assert runtime.learned("a", "made-up-0") == set()


async def test_what_a_server_did_not_take_is_tried_again_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, {"a": [says("a")]}) as b:
        now = 0.0
        monkeypatch.setattr(b.runtime._learned, "_clock", lambda: now)  # pyright: ignore
        b.runtime.learned("a", "m").add("top_k")
        now = 3599.0
        assert b.runtime.learned("a", "m") == {"top_k"}
        now = 3600.0
        assert b.runtime.learned("a", "m") == set()
