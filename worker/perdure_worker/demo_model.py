"""A fake provider beside an embedded stack, so that flows with models run without a key."""

from __future__ import annotations

from contextlib import AsyncExitStack

from perdure_graph.errors import PlatformError

from .settings import START_DEMO, WorkerSettings


async def own_demo_model(settings: WorkerSettings, cleanup: AsyncExitStack) -> WorkerSettings:
    """Start a fake provider where the settings ask for one, and have it answer for every model.

    Raises:
        PlatformError: its script cannot be read, or it did not start.
    """
    if settings.demo_model != START_DEMO:
        return settings
    from perdure_fake import FakeProvider, Script

    try:
        script = Script() if settings.demo_script is None else Script.read(settings.demo_script)
        provider = await cleanup.enter_async_context(FakeProvider.start_process(script=script))
    except ValueError as error:
        raise PlatformError(f"The demo model cannot start: {error}. Correct the file of --demo-script.") from error
    except (RuntimeError, OSError, TimeoutError) as error:
        raise PlatformError(
            f"The demo model did not start ({error or type(error).__name__}). `python -m perdure_fake` starts it alone "
            "and says why."
        ) from error
    return settings.model_copy(update={"demo_model": provider.openai_url})
