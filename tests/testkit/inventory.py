"""Lines of an inventory file, as an MDM connector would write them."""

import json
from datetime import UTC, datetime, timedelta

TIKTOK = {"id": "com.zhiliaoapp.musically", "name": "TikTok", "version": "16.6.5", "version_code": 2021606050}
NOTES = {"id": "com.example.notes", "name": "Notes", "version": "1.2"}

_last = datetime.min.replace(tzinfo=UTC)


def device(
    device_id: str,
    user: str,
    *apps: dict[str, object],
    platform: str = "android",
    device_class: str = "mobile",
    age: timedelta = timedelta(0),
    **more: object,
) -> str:
    """Return one line: a company device whose complete list is `apps` and a harmless one, collected `age` ago."""
    return json.dumps(
        {
            "device_id": device_id,
            "user": user,
            "platform": platform,
            "device_class": device_class,
            "ownership": "company",
            "source": "mdm",
            "scope": "full",
            "complete": True,
            "collected_at": (_now() - age).isoformat().replace("+00:00", "Z"),
            "apps": [NOTES, *apps],
            **more,
        }
    )


def _now() -> datetime:
    """Return the present instant, later than every one returned before: a registry refuses what is not newer."""
    global _last  # noqa: PLW0603  one clock for all lines of a test run
    now = datetime.now(UTC)  # noqa: TID251  the gate under test compares it with the real clock
    _last = max(now, _last + timedelta(microseconds=1))
    return _last
