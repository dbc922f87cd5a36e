"""Times and dates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field

from ..custom import tool
from ..protocol import ToolFault

FORMAT = "%Y-%m-%d %H:%M:%S"

Zone = Annotated[str, Field(description="Name of a time zone, such as `UTC`, `Asia/Shanghai` or `Europe/Berlin`.")]
Format = Annotated[str, Field(description="How the time is written, in the directives of strftime.")]
Local = Annotated[str, Field(description="A local time, such as `2024-12-31 23:59:59`.")]


@tool(provider="time", label="Current time", retry="safe")
def current_time(format: Format = FORMAT, timezone: Zone = "UTC") -> str:
    """Give the current date and time in a time zone."""
    return _written(datetime.now(_zone(timezone)), format)


@tool(provider="time", label="Convert time to another time zone", retry="safe")
def timezone_conversion(current_time: Local, current_timezone: Zone, target_timezone: Zone) -> str:
    """Convert a local time of one time zone to that of another."""
    there = _read(current_time, FORMAT, current_timezone).astimezone(_zone(target_timezone))
    return _written(there, FORMAT)


@tool(provider="time", label="Weekday", retry="safe")
def weekday(
    year: Annotated[int, Field(description="Year.", ge=1, le=9999)],
    month: Annotated[int, Field(description="Month, 1 to 12.", ge=1, le=12)],
    day: Annotated[int, Field(description="Day of the month.", ge=1, le=31)],
) -> str:
    """Say which day of the week a date is."""
    try:
        date = datetime(year, month, day, tzinfo=UTC)
    except ValueError as error:
        raise ToolFault("bad_arguments", f"{year}-{month}-{day} is no date: {error}.") from None
    return f"{date:%B} {date.day}, {date.year} is a {date:%A}."


@tool(provider="time", label="Local time to timestamp", retry="safe")
def localtime_to_timestamp(localtime: Local, timezone: Zone = "UTC", format: Format = FORMAT) -> str:
    """Convert a local time to a Unix timestamp in seconds."""
    return str(int(_read(localtime, format, timezone).timestamp()))


@tool(provider="time", label="Timestamp to local time", retry="safe")
def timestamp_to_localtime(
    timestamp: Annotated[int, Field(description="Seconds since 1970 (UTC).")],
    timezone: Zone = "UTC",
    format: Format = FORMAT,
) -> str:
    """Convert a Unix timestamp in seconds to a local time."""
    try:
        return _written(datetime.fromtimestamp(timestamp, _zone(timezone)), format)
    except (ValueError, OverflowError, OSError):
        raise ToolFault("bad_arguments", f"{timestamp} is no timestamp in seconds.") from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name.strip())
    except (ValueError, OSError, KeyError):
        near = [zone for zone in sorted(available_timezones()) if name.strip().lower() in zone.lower()][:5]
        hint = f" Is one of {', '.join(near)} meant?" if near and name.strip() else ""
        raise ToolFault(
            "bad_arguments", f"{name!r} is no time zone; they are named like Europe/Berlin.{hint}"
        ) from None


def _read(text: str, format: str, zone: str) -> datetime:
    try:
        return datetime.strptime(text.strip(), format).replace(tzinfo=_zone(zone))
    except ValueError:
        try:
            found = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ToolFault("bad_arguments", f"{text!r} is no time like {format!r}.") from None
    return found if found.tzinfo else found.replace(tzinfo=_zone(zone))


def _written(at: datetime, format: str) -> str:
    try:
        return at.strftime(format)
    except (ValueError, UnicodeError) as error:
        raise ToolFault("bad_arguments", f"{format!r} is no format of strftime: {error}.") from None
