"""Reading the machine's own apt sources, to ask the same mirror for another Debian suite. Pure functions of text."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")
POCKET = re.compile(r"[-/]")  # bookworm-updates, bookworm/updates: parts of a release, not releases
# Options that name suites' details (arch lists, pdiffs …) are dropped; these decide whether a mirror is trusted.
KEPT_OPTIONS = ("signed-by", "trusted", "check-valid-until", "check-date", "allow-insecure")


@dataclass(frozen=True)
class Mirror:
    """A mirror with one suite: what a line of sources.list says."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()


def _kept(options: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in options if name.lower() in KEPT_OPTIONS)


def parse_list(text: str) -> Iterator[Mirror]:
    """The sources of a one-line-style file (``deb [options] uri suite component …``)."""
    for raw in text.splitlines():
        line = raw.partition("#")[0].strip()
        match = ONE_LINE.match(line)
        if match:
            words = (word.partition("=") for word in (match["options"] or "").split())
            options = _kept((name, value) for name, _, value in words)
            yield Mirror(match["uri"], match["suite"], tuple(match["components"].split()), options)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """The fields of each stanza: they are written as a mail's headers are."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        yield {name.strip().lower(): value for name, value in HeaderParser().parsestr(stanza.strip("\n")).items()}


def parse_deb822(text: str) -> Iterator[Mirror]:
    """The sources of a ``.sources`` file (stanzas of fields). An embedded key (Signed-By with a block) is not kept."""
    for stanza in _stanzas(text):
        if "deb" not in stanza.get("types", "").split() or stanza.get("enabled", "yes").lower() in ("no", "false"):
            continue
        signed_by = stanza.get("signed-by", "")
        if "BEGIN PGP" in signed_by:
            continue  # a key cannot be carried over to the one-line form
        options = _kept((name, ",".join(value.split())) for name, value in stanza.items())
        for uri in stanza.get("uris", "").split():
            for suite in stanza.get("suites", "").split():
                yield Mirror(uri, suite, tuple(stanza.get("components", "").split()), options)


def read_sources(folder: Path) -> list[Mirror]:
    """All sources below an ``/etc/apt``; unreadable files are left out."""
    found: list[Mirror] = []
    for path in (folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))):
        if parse := {".list": parse_list, ".sources": parse_deb822}.get(path.suffix):
            with contextlib.suppress(OSError):
                found.extend(parse(path.read_text(encoding="utf-8", errors="replace")))
    return found


def mirrors(sources: Iterable[Mirror], codename: str) -> list[Mirror]:
    """Those that carry the whole distribution, first named first: the release itself with component ``main``.

    `codename` is the machine's release; rolling names of the same archive count as well.
    """
    names = {codename, "stable", "testing", "unstable", "sid", "oldstable"} - {""}
    unique: dict[str, Mirror] = {}
    for source in sources:
        whole = source.suite in names and not POCKET.search(source.suite) and "main" in source.components
        if whole and not source.uri.startswith("cdrom:"):
            unique.setdefault(source.uri.rstrip("/"), source)
    return list(unique.values())


def as_line(mirror: Mirror, suite: str) -> str:
    """The line of sources.list that asks this mirror for another suite."""
    options = " ".join(f"{name}={value}" for name, value in mirror.options)
    return f"deb {f'[{options}] ' if options else ''}{mirror.uri} {suite} main"
