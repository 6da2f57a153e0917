"""Coverage-guided fuzzing: `python tests/fuzz/run.py SECONDS [LAW …]`, a process for each law, with its progress.

What a law finds is kept beside its corpus as `crash-…`; mend the gate, and rename it to what it shows, so that the
tests run it for ever. Needs the extra `fuzz` (atheris: CPython up to 3.13, x86-64 Linux).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MAX_OCTETS = 12_000
"""Longer than the limits of a line and of a literal."""
_ONE = "--one"


def fuzz_one(name: str) -> None:
    """Fuzz in this process until libFuzzer ends it."""
    import atheris  # type: ignore[import-not-found, unused-ignore]  # an extra

    sys.path[:0] = [str(HERE.parent)]
    with atheris.instrument_imports(include=["gatekeeper", "aiosmtpd"]):
        from testkit.laws import LAWS, holds

    law = LAWS[name]
    atheris.Setup([sys.argv[0], *sys.argv[3:]], lambda octets: holds(law, bytes(octets)))
    atheris.Fuzz()


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz one law in a process of its own; False when it was broken."""
    seeds = CORPUS / name
    seeds.mkdir(parents=True, exist_ok=True)
    words = HERE / "words" / f"{name}.dict"
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as grown:
        options = [
            f"-max_total_time={seconds}",
            f"-max_len={MAX_OCTETS}",
            f"-artifact_prefix={seeds}/",
            "-print_final_stats=1",
            "-rss_limit_mb=1024",
            "-timeout=10",
            *([f"-dict={words}"] if words.exists() else []),
            grown,
            str(seeds),
        ]
        print(f"== {name}: {seconds} s", flush=True)  # noqa: T201  progress for people
        done = subprocess.run([sys.executable, __file__, _ONE, name, *options], check=False)
    return done.returncode == 0


def main() -> int:
    """Fuzz the laws that are named, or all."""
    if sys.argv[1:2] == [_ONE]:
        fuzz_one(sys.argv[2])
        return 0
    sys.path[:0] = [str(HERE.parent)]
    from testkit.laws import LAWS

    seconds, *names = sys.argv[1:]
    broken = [name for name in names or LAWS if not fuzz(name, int(seconds))]
    if broken:
        print(f"broken: {', '.join(broken)}")  # noqa: T201  the result for people
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
