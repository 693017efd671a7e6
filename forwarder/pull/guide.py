"""VERIFY.md: how somebody who trusts no program of ours checks an answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from forwarder.pull import table
from forwarder.pull.answer import Answer
from forwarder.terminal import safe

TEMPLATE: Final = Path(__file__).with_name("template.md")
MEANING: Final = {
    "scan": "A scan is named by the beginning of its `nmap.scan.id`.",
    "host": "A host is in `host.name`, `host.hostname`, `host.ip`, `host.id`, `related.hosts` or `related.ip`.",
    "user": "A user is in `user.name`, `user.effective.name` or `file.owner`, in upper or lower case.",
    "ticket": "A ticket is in `labels.ticket`, in upper or lower case.",
}


def guide(answer: Answer) -> str:
    """Return the text of VERIFY.md."""
    asked = {"archive": answer.archive} | answer.question.as_json()
    parts = {
        "ASKED": json.dumps(asked, indent=2),
        "MEANING": " ".join(MEANING[name] for name in asked if name in MEANING),
        "FOUND": _found(answer),
        "RESTS": "\n".join(f"- {_text(line)}" for log in answer.logs for line in log.rests_on),
        "EXCLUDE": "\n".join(f"- {_text(line)}" for line in cannot_exclude(answer)),
        "JQ": answer.question.jq(),
        "TABLES": "\n".join(_check(name) for name in answer.tables),
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    return re.sub("@([A-Z]+)@", lambda name: parts[name[1]], template)  # once: what is put in is not looked through


def cannot_exclude(answer: Answer) -> list[str]:
    """Return what an answer leaves open, each thing once."""
    lines = [line for log in answer.logs for line in log.cannot_exclude]
    lines.append(
        "that objects of the archive that are not in this answer were damaged: they were not read, or hold nothing that"
        " was asked for; the command verify reads all of them"
    )
    return list(dict.fromkeys(lines))


def _found(answer: Answer) -> str:
    counts = ", ".join(f"{count} of {_text(name)}" for name, count in sorted(answer.datasets.items()))
    lines = [f"{answer.records} records ({counts}) and {answer.evidence} files of evidence.", ""]
    for name, log in zip(answer.directories, answer.logs, strict=True):
        which = f"{log.batches} of the {log.size} batches of `{log.origin}`, the newest sealed {log.sealed_until}"
        lines.append(f"- from {which}; in `{name}/`" if log.batches else f"- from {which}")
    if answer.not_kept:
        lines.append(
            f"- {answer.not_kept} inputs of these batches are not here: the archive keeps only the hash of each"
        )
    lines += [f"- note: {_text(note)}" for note in answer.notes]
    if answer.findings:
        lines += [
            "",
            f"**{len(answer.findings)} things are not as they were sealed.** What they concern is not in this",
        ]
        lines += ["answer, which may therefore lack records or evidence:", ""]
        lines += [f"- {_text(str(finding))}" for finding in answer.findings]
    return "\n".join(lines)


def _check(name: str) -> str:
    """Return the commands that make a table again."""
    header = ",".join(column for column, _ in table.columns(name))
    return (
        f'[ "$(head -n 1 csv/{name}.csv | tr -d \'"\')" = {header} ]\n'
        f"cmp <(jq -r '{table.jq(name)}' records.ndjson) <(tail -n +2 csv/{name}.csv)"
    )


def _text(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    line = safe(text)
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#!" else char for char in line)
