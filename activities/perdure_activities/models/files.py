"""The files of messages: read before a call, checked against what the model takes.

An image or a document is sent as what it is; a document that is text goes into the prompt as text, which any model
reads. `load` gives them by `key_of` the file object.
"""

from __future__ import annotations

import asyncio
import codecs
import mimetypes
from collections.abc import Collection, Iterator, Mapping, Sequence

from pydantic import JsonValue

from perdure_graph.errors import PerdureError
from perdure_graph.models.messages import FilePart, Message, TextPart, ToolMessage, UserMessage

from ..addresses import NetSettings
from ..file_bytes import is_remote, name_of, read_file
from ..files import FileStore, default_store
from ..net import Resolver, resolve
from .protocol import LoadedFile, ModelFault

MAX_FILE_BYTES = 20 * 1024 * 1024
# What providers accept in one request, base64 included.
MAX_TOTAL_BYTES = 22 * 1024 * 1024
MAX_FILES = 100

_FETCH_S = 60.0
_FEATURES = {"image": "vision", "document": "document", "audio": "audio", "video": "video"}
_IMAGES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
_TEXTS = frozenset(
    {
        "application/csv",
        "application/ecmascript",
        "application/javascript",
        "application/json",
        "application/jsonl",
        "application/ld+json",
        "application/rtf",
        "application/sql",
        "application/toml",
        "application/x-ndjson",
        "application/x-sh",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
        "image/svg+xml",
        "message/rfc822",
    }
)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def key_of(file: Mapping[str, JsonValue]) -> str:
    """Give what tells a file object from others: its id, else where its bytes are."""
    return str(file.get("id") or file.get("related_id") or file.get("remote_url") or file.get("url") or "")


def inline_text(loaded: LoadedFile) -> str | None:
    """Give a file that is text as it goes into a prompt, so that the model knows where it ends; None is any other."""
    if loaded.content is None or not _is_text(loaded.media_type):
        return None
    return f"<file name={loaded.name!r}>\n{_decoded(loaded.content).rstrip()}\n</file>"


def _decoded(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    return content.decode("utf-8", "replace")


def inlined(messages: Sequence[Message], files: Mapping[str, LoadedFile]) -> tuple[Message, ...]:
    """Replace the files that are text by their text."""
    return tuple(_inlined(message, files) for message in messages)


def _inlined(message: Message, files: Mapping[str, LoadedFile]) -> Message:
    if not isinstance(message, UserMessage | ToolMessage):
        return message
    content: list[TextPart | FilePart] = []
    for part in message.content:
        loaded = files.get(key_of(part.file)) if isinstance(part, FilePart) else None
        text = inline_text(loaded) if loaded else None
        content.append(part if text is None else TextPart(text=text))
    return message.model_copy(update={"content": tuple(content)})


async def load(
    messages: Sequence[Message],
    features: Collection[str],
    *,
    store: FileStore | None = None,
    by_url: bool = False,
    settings: NetSettings | None = None,
    resolver: Resolver = resolve,
) -> dict[str, LoadedFile]:
    """Read the files of messages.

    by_url: leave remote images and documents to the provider, which fetches them itself.

    Raises:
        ModelFault: bad_request; the model takes no such file, or it cannot be read, or is too large.
    """
    parts = {key_of(part.file): part for part in _parts(messages)}
    if len(parts) > MAX_FILES:
        raise ModelFault("bad_request", f"the messages hold {len(parts)} files; a request takes {MAX_FILES} at most")
    for part in parts.values():
        _check(part, features)
    if not parts:
        return {}
    reader = _Reader(store or default_store(), by_url, settings or NetSettings(), resolver)
    # One after another: what they hold together is bounded as well.
    loaded: dict[str, LoadedFile] = {}
    room = MAX_TOTAL_BYTES
    for key, part in parts.items():
        loaded[key] = file = await reader.read(part, room)
        room -= len(file.content or b"")
        if (needed := _needed(part, file.media_type)) not in features and needed is not None:
            raise _not_taken(part, needed)
    return loaded


def _parts(messages: Sequence[Message]) -> Iterator[FilePart]:
    for message in messages:
        if isinstance(message, UserMessage | ToolMessage):
            yield from (part for part in message.content if isinstance(part, FilePart))


def _check(part: FilePart, features: Collection[str]) -> None:
    """Refuse what cannot be sent before anything is read. A document may turn out to be text."""
    needed = _FEATURES[part.kind]
    if needed not in features and part.kind != "document":
        raise _not_taken(part, needed)


def _needed(part: FilePart, media_type: str) -> str | None:
    return None if _is_text(media_type) else _FEATURES[part.kind]


def _not_taken(part: FilePart, feature: str) -> ModelFault:
    return ModelFault(
        "bad_request",
        f"the model takes no {part.kind} files (its declaration lacks the feature {feature!r}), but the prompt holds "
        f"{name_of(part.file)!r}; choose another model, or "
        + ("put its text in with a document-extractor node" if part.kind == "document" else "leave the file out"),
    )


class _Reader:
    def __init__(self, store: FileStore, by_url: bool, settings: NetSettings, resolver: Resolver) -> None:
        self._store = store
        self._by_url = by_url
        self._settings = settings
        self._resolver = resolver

    async def read(self, part: FilePart, room: int) -> LoadedFile:
        file, name = part.file, name_of(part.file)
        stated = str(file.get("mime_type") or "").partition(";")[0].strip().lower() or _guessed(file)
        if self._by_url and is_remote(file) and part.kind in {"image", "document"} and not _is_text(stated):
            return LoadedFile(media_type=stated, url=str(file.get("remote_url") or file.get("url") or ""), name=name)
        try:
            read = await read_file(
                file,
                store=self._store,
                max_bytes=min(MAX_FILE_BYTES, room),
                total_s=_FETCH_S,
                settings=self._settings,
                resolver=self._resolver,
            )
        except PerdureError as error:
            # A file that is not there is no fault of the provider's: no other deployment would do better.
            raise ModelFault("bad_request", f"the file {name!r} cannot be sent to the model: {error}") from error
        media_type = await asyncio.to_thread(_media_type, read.content, stated, read.media_type)
        if part.kind == "image" and media_type not in _IMAGES:
            raise ModelFault(
                "bad_request",
                f"the file {name!r} is of the type {media_type!r}; models take PNG, JPEG, GIF and WebP images",
            )
        return LoadedFile(media_type=media_type, content=read.content, name=name)


def _guessed(file: Mapping[str, JsonValue]) -> str:
    name = str(file.get("filename") or "") or f"file{file.get('extension') or ''}"
    return mimetypes.guess_type(name)[0] or ""


def _media_type(content: bytes, stated: str, served: str) -> str:
    """Say what a file is: by its first bytes, for providers refuse what they find to be something else."""
    for magic, media_type in _MAGIC:
        if content.startswith(magic):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    unclear = {"", "application/octet-stream", "binary/octet-stream"}
    media_type = next((kind for kind in (stated, served) if kind not in unclear), "application/octet-stream")
    if media_type in unclear and _reads_as_text(content):
        return "text/plain"
    return media_type


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type in _TEXTS or media_type.endswith(("+json", "+xml", "+yaml"))


def _reads_as_text(content: bytes) -> bool:
    try:
        return b"\0" not in content and bool(content.decode("utf-8") or True)
    except UnicodeDecodeError:
        return False
