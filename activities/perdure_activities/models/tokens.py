"""How many tokens a prompt has, before the provider says so: exactly where its tokenizer is public, else estimated.

An estimate is corrected by what providers report: each model has a factor that follows the last answers.
Counting is work for the processor: call it in an activity, and in a thread when texts are long.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from perdure_graph.models.messages import (
    AssistantMessage,
    FilePart,
    Message,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolSpec,
    text_of,
)

from .declared.load import Catalog
from .declared.schema import ModelDeclaration
from .recent import Recent

PER_MESSAGE = 3
PER_REPLY = 3

# Each character makes at most four tokens, and the tokenizer refuses more than 200,000 at once.
_CHUNK_CHARS = 50_000
_NEWEST_WEIGHT = 0.2
_LEAST, _MOST = 0.25, 4.0
# Below so many tokens the frame around the messages says more than their text.
_WORTH_LEARNING = 50
_DEFAULT_SIDE = 1024
_OTHER_FILE = 1500

_CJK = re.compile(
    r"[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
_WORD = re.compile(r"[A-Za-z]+")
_DIGITS = re.compile(r"[0-9]+")
_MARK = re.compile(r"[^\sA-Za-z0-9]")


class TokenCounter(Protocol):
    """Counts the tokens of one model."""

    def text(self, text: str) -> int:
        """Count a text."""
        ...

    def count(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        """Count a prompt: messages, what frames them, files by the provider's formula, and tools."""
        ...

    def learn(self, counted: int, real: int) -> None:
        """Take note that a prompt counted as `counted` really had `real` tokens."""
        ...


class _Texts(Protocol):
    def __call__(self, text: str, /) -> int: ...


@dataclass
class Counter:
    """Counts by a function of texts, times a factor that real usage corrects.

    exact: whether the function is the model's own tokenizer; then texts are not scaled, and nothing is learned.
    tiles: whether images count by tiles, as OpenAI's do, or by their area, as Anthropic's do.
    """

    of_text: _Texts
    factor: float = 1.0
    exact: bool = False
    tiles: bool = True
    learned: int = field(default=0, init=False)

    def text(self, text: str) -> int:
        """Count a text."""
        return math.ceil(self.of_text(text) * self.factor)

    def count(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        """Count a prompt."""
        texts = sum(self.of_text(text) for message in messages for text in _texts_of(message))
        texts += sum(self.of_text(_tool_text(tool)) for tool in tools)
        images = sum(image_tokens(part, tiles=self.tiles) for message in messages for part in _files_of(message))
        return math.ceil(texts * self.factor) + images + PER_MESSAGE * len(messages) + PER_REPLY

    def learn(self, counted: int, real: int) -> None:
        """Correct the factor."""
        if self.exact or counted < _WORTH_LEARNING or real <= 0:
            return
        seen = min(_MOST, max(_LEAST, self.factor * real / counted))
        # The first answer tells more than the guess it replaces.
        weight = max(_NEWEST_WEIGHT, 1 / (self.learned + 2))
        self.factor = (1 - weight) * self.factor + weight * seen
        self.learned += 1


def bpe(encoding: str) -> _Texts | None:
    """Give the tokenizer of an encoding; None where bpe-openai is not installed, or does not have it."""
    try:
        from bpe_openai import get_encoding  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        return None
    encode = _encoder(get_encoding, encoding)
    if encode is None:
        return None
    return lambda text: sum(len(encode(chunk)) for chunk in _chunks(text))


@functools.cache
def _encoder(get_encoding: Any, encoding: str) -> Any:
    try:
        return get_encoding(encoding).encode_ordinary
    except (LookupError, ValueError, RuntimeError):
        return None


def estimate(text: str) -> int:
    """Guess the tokens of a text of any language by its letters, digits and marks."""
    if not text:
        return 0
    asian = len(_CJK.findall(text))
    words = sum(math.ceil(len(word) / 6) for word in _WORD.findall(text))
    digits = sum(math.ceil(len(number) / 3) for number in _DIGITS.findall(text))
    others = len(_MARK.findall(text)) - asian
    return max(1, math.ceil(words + digits + asian * 0.9 + others * 0.7))


class Counters:
    """The counters of models, each made when it is first asked for, and kept while it is used: it learns."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._counters: Recent[tuple[str, str], Counter] = Recent()

    def counter_for(self, provider: str, model: str) -> TokenCounter:
        """Give the counter of a model.

        Raises:
            UnknownProvider, UnknownModel: there is no such model.
        """
        declared = self._catalog.provider(provider)
        key = (declared.provider, model)
        if (counter := self._counters.get(key)) is not None:
            return counter
        found = self._catalog.model(provider, model)
        # Threads may ask at once; all must get the one that learns.
        return self._counters.setdefault(key, _counter(found, tiles=declared.wire != "anthropic-messages"))


def _counter(declaration: ModelDeclaration, *, tiles: bool) -> Counter:
    known = bpe(declaration.tokenizer) if declaration.tokenizer != "estimate" else None
    exact = known is not None and declaration.known and declaration.token_factor == 1.0
    return Counter(known or estimate, factor=declaration.token_factor, exact=exact, tiles=tiles)


def image_tokens(part: FilePart, *, tiles: bool) -> int:
    """Count a file: images by the provider's formula (a side that is not told is 1024), others by a fixed guess."""
    if part.kind != "image":
        return _OTHER_FILE
    width, height = (_side(part.file.get(name)) for name in ("width", "height"))
    if not tiles:
        scale = min(1.0, 1568 / max(width, height))
        return min(1600, math.ceil(width * scale * height * scale / 750))
    if part.detail == "low":
        return 85
    scale = min(1.0, 2048 / max(width, height))
    width, height = width * scale, height * scale
    scale = min(1.0, 768 / min(width, height))
    return 85 + 170 * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def _side(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 else float(_DEFAULT_SIDE)


def _texts_of(message: Message) -> Iterator[str]:
    yield text_of(message)
    if isinstance(message, AssistantMessage):
        for part in message.content:
            match part:
                case ToolCall():
                    yield part.name
                    yield part.arguments
                case ThinkingPart():
                    yield part.text
                case TextPart():
                    pass


def _files_of(message: Message) -> Iterable[FilePart]:
    if isinstance(message, SystemMessage | AssistantMessage):
        return ()
    return [part for part in message.content if isinstance(part, FilePart)]


def _tool_text(tool: ToolSpec) -> str:
    return f"{tool.name}\n{tool.description}\n{json.dumps(tool.parameters, ensure_ascii=False)}"


def _chunks(text: str) -> Iterator[str]:
    """Cut a long text into pieces that the tokenizer takes, where possible before a space."""
    start = 0
    while len(text) - start > _CHUNK_CHARS:
        end = start + _CHUNK_CHARS
        cut = text.rfind(" ", start + 1, end)
        end = cut if cut > start + _CHUNK_CHARS // 2 else end
        yield text[start:end]
        start = end
    yield text[start:]
