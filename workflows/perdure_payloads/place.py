"""Where blobs live, and how the ids of runs become parts of paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

OFF: Final = "off"

# A file name may have 255 bytes on the file systems in use, a workflow id 1,000 characters.
_PART = 200
_MORE = "~"
_PLAIN = re.compile(rb"[a-z0-9_-]")
_S3_OPTIONS = ("endpoint_url", "region")


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """A folder of this machine, or a mounted one."""

    root: Path


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket of S3, or of a store that speaks its protocol; `prefix` is empty or ends with `/`."""

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None


Place = FolderPlace | S3Place | None


def read_place(text: str) -> Place:
    """Read the setting `blobs`; None is `off`.

    Raises:
        ValueError: it is empty, or names no bucket, or has an option that is not known.
    """
    if text == OFF:
        return None
    if not text.strip():
        raise ValueError("`blobs` is empty: give a folder, s3://bucket/prefix, or `off`")
    if not text.startswith("s3://"):
        if "://" in text:
            raise ValueError(f"`blobs` is {text!r}: give a folder, s3://bucket/prefix, or `off`")
        return FolderPlace(Path(text))
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query))
    if not parts.netloc or "@" in parts.netloc:
        raise ValueError("`blobs` names no bucket: s3://bucket/prefix (credentials come from AWS_* variables)")
    if unknown := sorted(set(options) - set(_S3_OPTIONS)):
        raise ValueError(f"`blobs` has the option {unknown[0]!r}; there are {' and '.join(_S3_OPTIONS)}")
    prefix = unquote(parts.path).strip("/")
    return S3Place(
        parts.netloc, f"{prefix}/" if prefix else "", options.get("endpoint_url"), options.get("region") or None
    )


def quoted(name: str) -> Path:
    """Turn any text into a relative path that nothing can climb out of, one to one on every file system.

    Dots and capitals are escaped too: `..` is no name, and some file systems do not tell `A` from `a`.
    """
    text = "".join(chr(b) if _PLAIN.match(bytes((b,))) else f"%{b:02x}" for b in name.encode("utf-8", "surrogatepass"))
    parts = [text[at : at + _PART] for at in range(0, len(text), _PART)] or ["%"]
    return Path(*(part + _MORE for part in parts[:-1]), parts[-1])


def unquoted(path: Path) -> str:
    """Undo `quoted`."""
    text = "".join(part.removesuffix(_MORE) for part in path.parts)
    return "" if text == "%" else unquote(text, errors="surrogatepass")
