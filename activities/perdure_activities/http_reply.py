"""Read the headers of a response: is it text or a file, and what is the file called?"""

from __future__ import annotations

import mimetypes
from email.message import Message
from typing import Literal
from urllib.parse import unquote, urlsplit

import httpx2

_TEXT_WORDS = ("json", "xml", "javascript", "ecmascript", "x-www-form-urlencoded", "yaml", "graphql")
_TEXT_STARTS = (b"{", b"[", b"<")


def media_type_of(headers: httpx2.Headers) -> str:
    """Give the media type without its parameters, in lower case; empty when there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def reading_of(headers: httpx2.Headers) -> Literal["text", "file", "unclear"]:
    """Decide by the headers alone how to read a response; `unclear` needs a look at the content."""
    disposition = _disposition(headers)
    if disposition.get_content_disposition() == "attachment" or disposition.get_filename() is not None:
        return "file"
    media_type = media_type_of(headers)
    main, _, sub = media_type.partition("/")
    if not media_type or main == "text":
        return "text"
    if main == "application":
        # `vnd.openxmlformats...` only carries the word.
        if "openxml" not in sub and any(word in sub for word in _TEXT_WORDS):
            return "text"
        if mimetypes.guess_extension(media_type) in (None, ".bin"):
            return "unclear"
    return "file"


def is_text(headers: httpx2.Headers, content: bytes) -> bool:
    """Whether a response is text; unclear data is when it is UTF-8 and starts like JSON or XML."""
    match reading_of(headers):
        case "text":
            return True
        case "file":
            return False
        case "unclear":
            return content.lstrip()[:1] in _TEXT_STARTS and _is_utf8(content)


def filename_of(headers: httpx2.Headers, url: str) -> tuple[str, str]:
    """Give the name and media type of a file: what the server says first, then what the URL ends in."""
    name = _disposition(headers).get_filename() or unquote(urlsplit(url).path.rpartition("/")[2])
    media_type = media_type_of(headers)
    if media_type in ("", "application/octet-stream"):
        media_type = mimetypes.guess_type(name)[0] or media_type
    return name, media_type


def _disposition(headers: httpx2.Headers) -> Message:
    message = Message()
    if value := headers.get("content-disposition", ""):
        message["content-disposition"] = value
    return message


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
