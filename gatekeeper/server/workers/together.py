"""All workers as one, for the host that serves the admin port: health, figures and reload of the whole gate."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from gatekeeper.server.metrics import exposition, merged
from gatekeeper.server.reload import Reloaded

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper


_ANSWER_WITHIN_S = 5.0
_RELOAD_WITHIN_S = 40.0


class Ask(Protocol):
    """Asks the parent, which asks all workers."""

    async def __call__(self, what: str, within_s: float, body: object = None) -> Any:
        """Ask, and wait for so many seconds. Raises `Unavailable`."""
        ...


class Together:
    """Implements `whole.Whole`. What the parent gathers: `workers`, an answer or None by number, and their `roster`."""

    def __init__(self, gatekeeper: "Gatekeeper", number: int, ask: Ask) -> None:
        self._gatekeeper = gatekeeper
        self._number = number
        self._ask = ask

    async def checks(self) -> Mapping[str, str]:
        """See `Whole`: what is not well with any worker.

        That one is down is told, and no reason not to be
        ready: others accept what waits for it. But at the start all have to come up.
        """
        return _checks(await self._ask("checks", _ANSWER_WITHIN_S))

    async def metrics(self) -> bytes:
        """See `Whole`: the sum over all workers, also of those that were."""
        answer = await self._ask("metrics", _ANSWER_WITHIN_S)
        found = [figures for figures in answer["workers"].values() if isinstance(figures, list)]
        return exposition(merged([*found, answer["departed"], _roster_families(answer["roster"])]))

    async def status(self) -> Mapping[str, object]:
        """See `Whole`: the host's own words, sums, and a line for each worker; who did not answer is `unanswered`."""
        answer = await self._ask("status", _ANSWER_WITHIN_S)
        found = {
            number: one for number, one in answer["workers"].items() if isinstance(one, dict) and "sessions" in one
        }
        own = found.get(str(self._number)) or next(iter(found.values()), {})
        whole = dict(own)
        for name in ("sessions", "waiting", "audit_records"):
            whole[name] = sum(one[name] for one in found.values())
        whole["audit_remotes"] = {
            name: {number: one["audit_remotes"].get(name, "unknown") for number, one in found.items()}
            for name in own.get("audit_remotes", {})
        }
        unanswered = [number for number in answer["workers"] if number not in found]
        if unanswered:
            whole["unanswered"] = sorted(map(int, unanswered))
        words = {number: str(one.get("break_glass", "")) for number, one in found.items()}
        whole["break_glass"] = _as_one(words | dict.fromkeys(unanswered, "does not answer"))
        last = _last_to_follow([own, *found.values()])
        whole |= {name: last[name] for name in ("policy", "policy_sha256") if name in last}
        whole["admin"] = self._gatekeeper.admin_port
        whole["ready"] = _checks(
            {**answer, "workers": {number: one and one.get("ready") for number, one in answer["workers"].items()}}
        )
        whole["workers"] = {
            str(one["worker"]): {
                "state": one["state"],
                "pid": one["pid"],
                "sessions": found.get(str(one["worker"]), {}).get("sessions", 0),
            }
            for one in answer["roster"]
        }
        return whole

    async def reload(self) -> Reloaded:
        """See `Whole`."""
        answer = await self._ask("reload", _RELOAD_WITHIN_S)
        return Reloaded(
            reloaded=not answer["faults"], faults=tuple(answer["faults"]), notes=tuple(answer.get("notes", ()))
        )

    async def refresh(self) -> None:
        """See `Whole`; a worker that does not answer reads the change by itself, when it can read at all."""
        await self._ask("refresh", _ANSWER_WITHIN_S)

    async def record_in(self, told: object) -> bool:
        """See `Whole`: the worker whose log it is says so."""
        answer = await self._ask("record_in", _ANSWER_WITHIN_S, told)
        return any(found is True for found in answer["workers"].values())


def _checks(answer: dict[str, Any]) -> dict[str, str]:
    checks: dict[str, str] = {}
    for number, found in sorted(answer["workers"].items(), key=lambda item: int(item[0])):
        for name, result in (found or {"answers": "does not answer"}).items():
            if result.startswith("ok, "):  # what every process says alike, and is no reason not to be ready
                if checks.get(name, "ok") == "ok":
                    checks[name] = result
            elif result != "ok":
                before = checks.get(name, "ok")
                more = f"worker {number}: {result}"
                checks[name] = more if before.startswith("ok") else f"{before}; {more}"
            else:
                checks.setdefault(name, "ok")
    down = [f"worker {one['worker']} {one['state']}" for one in answer["roster"] if not one["is_up"]]
    beginning = "ok, but " if answer["were_up"] else ""
    checks["workers"] = beginning + "; ".join(down) if down else "ok"
    return checks


def _as_one(words: dict[str, str]) -> str:
    """What all say; what each says where they differ: for an instant, as each follows the note by itself."""
    said = set(words.values())
    if len(said) <= 1:
        return "".join(said)
    return "; ".join(f"worker {number}: {words[number] or 'closed'}" for number in sorted(words, key=int))


def _last_to_follow(said: list[dict[str, Any]]) -> dict[str, Any]:
    """The worker with the oldest version of the policy, of equal ones the first: a newer one is not in force yet."""
    return min(said, key=lambda one: int(one.get("policy", {}).get("version", 0)))


def _roster_families(roster: list[dict[str, Any]]) -> list[Any]:
    up = [["gatekeeper_worker_up", {"worker": str(one["worker"])}, int(one["is_up"])] for one in roster]
    deaths = [["gatekeeper_worker_deaths_total", {"worker": str(one["worker"])}, one["deaths"]] for one in roster]
    return [
        ["gatekeeper_worker_up", "gauge", "1 while the worker serves phones", up],
        ["gatekeeper_worker_deaths", "counter", "Times the worker ended by itself or was killed", deaths],
    ]
