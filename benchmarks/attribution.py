"""How well scans are attributed: a company of users, scripts and bad logs is simulated, so that the truth is known.

Usage: python benchmarks/attribution.py [SEED] [EXECUTIONS]

Prints a table in Markdown: for each scenario and confidence precision (of these scans, how many name the
execution that made the scan; of weak ones, have it among their candidates) and recall (of all scans whose execution
left any evidence, how many are answered so, and rightly). The last column tells merges of evidence that were wrong.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from forwarder.attribute import match, merge
from forwarder.attribute.model import Answer, Known, Subject, known, outputs_of, seconds
from forwarder.attribute.words import written
from forwarder.audit.interface import STRONG, Execution, Output, User
from forwarder.nmap.argline import join

DAY: Final = 1_770_000_000
OURS: Final = "scanner1"
"""The machine that the forwarder runs on; logs of others are collected there."""
USERS: Final = 20
COMMANDS: Final = (
    "-sS -p- 10.{net}.0.0/24",
    "-sV -O 10.{net}.1.0/24",
    "-sn 10.{net}.0.0/16",
    "-A --script default 10.{net}.2.7",
    "-sU --top-ports 50 10.{net}.3.0/28",
    "-sT -Pn --script-args 'http.useragent=a b' 10.{net}.4.4",
)
WINDOW: Final = match.SKEW + match.AFTER


@dataclass(frozen=True, slots=True)
class Scenario:
    """How bad things are; each number is a probability unless it says otherwise."""

    name: str
    lost: float = 0.0
    """A line of evidence is missing,"""
    unlogged: float = 0.0
    """or all of an execution's."""
    skew: float = 0.0
    """Standard deviation, in seconds, of other machines' clocks."""
    equal: float = 0.1
    """Another user starts the same command in the next seconds."""
    moved: float = 0.1
    """The output is given to the forwarder as a copy at another place, owned by a service."""
    gone: float = 0.05
    """The output is deleted before it is read."""
    sources: tuple[float, ...] = (0.15, 0.25, 0.3, 0.15, 0.1, 0.05)
    """Shares of ways: run, shim and auditd, auditd, sudo and auditd, sudo alone, history alone."""


SCENARIOS: Final = (
    Scenario("quiet, all logs"),
    Scenario("busy: equal commands at one time", equal=0.6),
    Scenario("clocks off by 30 s", skew=30.0),
    Scenario("one of five lines lost", lost=0.2),
    Scenario("a third unlogged", unlogged=0.33),
    Scenario("weak sources only", sources=(0, 0, 0, 0, 0.5, 0.5)),
    Scenario("wrapper everywhere", sources=(0.5, 0.5, 0, 0, 0, 0), equal=0.6, moved=0.3),
    Scenario("all of it", lost=0.15, unlogged=0.2, skew=30.0, equal=0.6, moved=0.3, gone=0.2),
)


@dataclass(slots=True)
class Company:
    """What happened, and what is left of it."""

    truth: dict[str, int] = field(default_factory=dict)
    """scan_id → number of the execution."""
    subjects: list[Subject] = field(default_factory=list)
    evidence: list[tuple[int, Execution]] = field(default_factory=list)
    """(number of the execution, one sighting of it), in the order in which the forwarder reads them."""


def simulate(scenario: Scenario, rng: random.Random, count: int) -> Company:
    """Let a company scan for a day.

    Args:
        scenario: how bad things are.
        rng: where all chance comes from.
        count: executions.
    """
    company = Company()
    files: dict[str, tuple[int, Subject]] = {}
    offsets = {OURS: 0.0, "scanner2": rng.gauss(0, scenario.skew), "scanner3": rng.gauss(0, scenario.skew)}
    number, clock = 0, float(DAY)
    while number < count:
        clock += rng.expovariate(count / 86_400)
        command = rng.choice(COMMANDS).format(net=rng.randrange(4))
        group = [rng.randrange(USERS)]
        while rng.random() < scenario.equal and len(group) < 5:  # noqa: PLR2004
            group.append(rng.randrange(USERS))
        start = clock
        for user in group:
            host = OURS if rng.random() < 0.7 else rng.choice(sorted(offsets))  # noqa: PLR2004
            name = rng.choice(("scan.xml", "out/net.xml", "/srv/scans/hourly.xml"))
            seen, subject = _run(number, user, command, start, host, name, rng)
            way = rng.choices(range(6), scenario.sources)[0]
            lines = [] if rng.random() < scenario.unlogged else list(_evidence(seen, subject, way, offsets[host], rng))
            company.evidence += [(number, line) for line in lines if rng.random() >= scenario.lost]
            paired = any(line.source in {"run", "shim"} for line in lines) and rng.random() < 0.5  # noqa: PLR2004
            if paired:  # the wrapper kept nmap's result in the spool
                identity = next(line.identity for line in lines if line.source in {"run", "shim"})
                found = replace(subject, spool_id=identity, path=f"/spool/taken/{identity}.xml")
                company.subjects.append(found)
                company.truth[found.scan_id] = number
            elif rng.random() >= scenario.gone:
                moved = rng.random() < scenario.moved or host != OURS
                kept = replace(subject, path=f"/collected/{number}.xml", uid="990") if moved else subject
                before = files.get(kept.path)  # a later one of that path takes its place
                files[kept.path] = number, kept
                if before and (before[1].finish or 0.0) >= (kept.start or 0.0):
                    del files[kept.path]  # two processes that write one file at a time leave no XML that is whole
            number += 1
            start += rng.random() * 6
    for truth, subject in files.values():
        company.subjects.append(subject)
        company.truth[subject.scan_id] = truth
    company.evidence.sort(key=lambda item: (item[1].source not in {"run", "shim"}, item[1].source, item[1].start))
    return company


def _run(
    number: int, user: int, command: str, start: float, host: str, name: str, rng: random.Random
) -> tuple[Execution, Subject]:
    """Return one execution as it was, and its scan."""
    words = ("nmap", "-oX", name, *command.replace("'", "").split(" "))
    argv = tuple(_joined(words))
    cwd = f"/home/u{user}"
    path = name if name.startswith("/") else f"{cwd}/{name}"
    lag, lasting = rng.random() * 0.8, 5 + rng.expovariate(1 / 120)
    root = rng.random() < 0.5  # noqa: PLR2004
    uid = "0" if root else str(1000 + user)
    person = User(str(1000 + user), f"u{user}")
    execution = Execution(
        "auditd",
        "",
        argv,
        start=_time(start),
        end=_time(start + lag + lasting),
        host=host,
        cwd=cwd,
        executable="/usr/bin/nmap",
        pid=2000 + (number * 3) % 30_000,
        ppid=1000 + number % 900,
        login=person,
        real=person,
        effective=User(uid, "root" if root else f"u{user}"),
        outputs=(Output(path, "xml"),),
    )
    content = sha256(f"content {number}".encode()).hexdigest()
    scan_id = sha256(f"scan {number}".encode()).hexdigest()
    # nmap writes options first, and whole seconds
    args = join([argv[0], *sorted(argv[1:])])
    finish = float(int(start + lag + lasting))
    return execution, Subject(scan_id, written(args), float(int(start + lag)), finish, content, path, uid)


def _joined(words: tuple[str, ...]) -> Iterator[str]:
    """Yield words, with what stands in quotes put together again."""
    rest = iter(words)
    for word in rest:
        yield f"{word} {next(rest)}" if word.endswith("=a") else word


def _evidence(seen: Execution, subject: Subject, way: int, skew: float, rng: random.Random) -> Iterator[Execution]:
    """Yield what sources tell of an execution."""
    begun = seconds(seen.start) or 0.0
    shifted = replace(seen, start=_time(begun + skew), end="", outputs=())
    ours = seen.host == OURS
    if way in {0, 1}:
        source = ("run", "shim")[way]
        out = Output(seen.outputs[0].path, "xml", "present", subject.sha256, 1)
        identity = sha256(f"{subject.scan_id} {source}".encode()).hexdigest()[:32]
        start = begun + skew - 0.05
        end = (seconds(seen.end) or 0.0) + skew
        yield replace(
            seen, source=source, identity=identity, start=_time(start), end=_time(end), pid=seen.pid, outputs=(out,)
        )
    if way in {1, 2, 3}:
        yield replace(shifted, identity=f"{begun:.3f}:{subject.scan_id[:8]}", outputs=outputs_of(shifted))
    if way in {3, 4}:
        yield replace(
            shifted,
            source="sudo",
            identity=f"sudo {subject.scan_id[:8]}",
            login=User(),
            real=User(),
            effective=User("", "root"),
            sudo_user=seen.login.name,
            pid=seen.ppid if ours else -1,
            ppid=-1,
            start=_time(float(int(begun + skew))),
            outputs=outputs_of(shifted),
        )
    if way == 5 or rng.random() < 0.2:  # noqa: PLR2004
        yield replace(
            shifted,
            source="history",
            identity=f"history {subject.scan_id[:8]}",
            login=User(),
            effective=User(),
            pid=-1,
            ppid=-1,
            cwd="",
            executable="",
            start=_time(float(int(begun + skew))),
            outputs=outputs_of(replace(shifted, cwd="")),
        )


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:23] + "Z"


def attribute(company: Company) -> tuple[dict[str, Answer], dict[str, set[int]], dict[str, set[int]]]:
    """Return the answers for all scans, which executions each entity_id was made of, and of which by strong sources.

    A weak line that was put to another execution of the same user, command and seconds makes no answer wrong.
    """
    by_words: defaultdict[str, list[Known]] = defaultdict(list)
    made: defaultdict[str, set[int]] = defaultdict(set)
    firmly: defaultdict[str, set[int]] = defaultdict(set)
    for number, part in company.evidence:
        new = known(part)
        near = [item for item in by_words[new.words] if _apart(item, part) <= merge.DESCENT]
        item = merge.find(part, near)
        if item is None:
            item = new
            by_words[new.words].append(item)
        item.add(part)
        made[item.entity_id].add(number)
        if part.source in STRONG:
            firmly[item.entity_id].add(number)
    answers: dict[str, Answer] = {}
    groups: defaultdict[str, list[Subject]] = defaultdict(list)
    for subject in company.subjects:
        groups[subject.words].append(subject)
    for words, subjects in groups.items():
        subjects.sort(key=lambda subject: subject.start or 0.0)
        for some in _clusters(subjects):
            first, last = (some[0].start or 0.0) - WINDOW, (some[-1].start or 0.0) + WINDOW
            runs = [item for item in by_words[words] if first <= (seconds(item.whole.start) or 0.0) <= last]
            answers |= match.assign(some, runs, OURS)
    return answers, made, firmly


def _clusters(subjects: list[Subject]) -> Iterator[list[Subject]]:
    """Yield scans of one command line between which there are no pauses long enough to part them."""
    some: list[Subject] = []
    for subject in subjects:
        if some and (subject.start or 0.0) - (some[-1].start or 0.0) > 2 * WINDOW:
            yield some
            some = []
        some.append(subject)
    yield some


def _apart(item: Known, part: Execution) -> float:
    return abs((seconds(item.whole.start) or 0.0) - (seconds(part.start) or 0.0))


@dataclass(slots=True)
class Result:
    """What a scenario came to."""

    scans: int = 0
    knowable: int = 0
    """Scans whose execution left evidence."""
    answered: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    executions: int = 0
    mixed: int = 0
    """Executions that evidence of several was merged into."""


def judge(scenario: Scenario, seed: int, count: int) -> Result:
    """Simulate a scenario, attribute its scans, and hold the answers against the truth."""
    company = simulate(scenario, random.Random(f"{seed} {scenario.name}"), count)
    answers, made, firmly = attribute(company)
    logged = {number for number, _ in company.evidence}
    result = Result(len(company.subjects), executions=len(made), mixed=sum(len(of) > 1 for of in made.values()))
    for subject in company.subjects:
        truth, answer = company.truth[subject.scan_id], answers[subject.scan_id]
        result.knowable += truth in logged
        result.answered[answer.confidence] += 1
        named = [made[entity_id] for entity_id in answer.executions]
        if answer.confidence == "none":
            right = truth not in logged
        elif answer.confidence == "weak":
            right = any(truth in of for of in named)
        else:
            right = [firmly.get(entity_id) or made[entity_id] for entity_id in answer.executions] == [{truth}]
        result.right[answer.confidence] += right
    return result


def main() -> None:
    """Print the table."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 3000  # noqa: PLR2004
    print("| scenario | scans | exact: precision, recall | strong | weak | none: rightly | wrong merges |")
    print("|---|---|---|---|---|---|---|")
    for scenario in SCENARIOS:
        found = judge(scenario, seed, count)
        cells = [
            f"{_share(found.right[name], found.answered[name])}, {_share(found.right[name], found.knowable)}"
            for name in ("exact", "strong", "weak")
        ]
        none = f"{found.right['none']} of {found.answered['none']}"
        print(
            f"| {scenario.name} | {found.scans} | {' | '.join(cells)} | {none} | {found.mixed} of {found.executions} |"
        )


def _share(part: int, whole: int) -> str:
    return "–" if not whole else "1" if part == whole else f"{part / whole:.3f}"


if __name__ == "__main__":
    main()
