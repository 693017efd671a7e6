"""VERIFY.md tells the truth: its commands run on what was pulled, and find what was changed in it."""

import re
import shutil
import subprocess

import pytest
from conftest import Forwarder, need, scan

PROGRAMS = ("bash", "openssl", "sha256sum", "zstd", "jq", "basenc", "comm", "od")
DAY = 86400


@pytest.fixture(scope="module")
def forwarder(tmp_path_factory):
    forwarder = Forwarder(tmp_path_factory.mktemp("sealed"))
    for n in range(5):
        text = scan(n + 1, start=1700000000 + n * DAY).replace('product="p0-0"', 'product="=cmd;\u202eé"')
        forwarder.forward(forwarder.write(f"{n}.xml", text))
    return forwarder


@pytest.fixture(scope="module")
def pulled(forwarder):
    def pull(name, *asked):
        out = forwarder.directory / name
        if not out.exists():
            key = forwarder.directory / "state/key.vkey"
            result = forwarder.command("pull", forwarder.archive, "--key", key, "--out", out, *asked)
            assert result.returncode in {0, 1}, result.stderr
        return out

    return pull


def steps(out):
    """The commands of an answer's VERIFY.md, by their headings."""
    text = (out / "VERIFY.md").read_text()
    return dict(re.findall(r"^### \d+\. (.*?)\n.*?^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def check(out):
    """The steps that do not end well, with what they print."""
    for program in PROGRAMS:
        need(program)
    failed = {}
    for heading, program in steps(out).items():
        result = subprocess.run(["bash", "-c", program], check=False, capture_output=True, text=True, cwd=out)
        said = result.stdout.splitlines()[-1:] or [""]
        if result.returncode or not said[0].startswith("ok"):
            failed[heading] = result.stdout + result.stderr
    return failed


QUESTIONS = {
    "everything": (),
    "period": ("--from", "2023-11-14", "--until", "2023-11-15"),
    "host": ("--host", "10.0.0.1"),
    "owner": ("--user", "ROOT"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_all_steps_run_on_an_answer(pulled, question):
    if question == "owner":
        import getpass

        QUESTIONS[question] = ("--user", getpass.getuser().upper())
    out = pulled(question, *QUESTIONS[question])
    assert len(steps(out)) == 8
    assert check(out) == {}


def test_all_steps_run_on_an_answer_with_findings(pulled, forwarder, tmp_path):
    shutil.copytree(forwarder.directory, tmp_path / "f")
    copy = Forwarder(tmp_path / "f")
    (copy.log / copy.manifests()[1].records.name).unlink()
    (copy.log / copy.manifests()[2].evidence[0].name).unlink()
    key = copy.directory / "state/key.vkey"
    assert copy.command("pull", copy.archive, "--key", key, "--out", tmp_path / "out").returncode == 1
    assert check(tmp_path / "out") == {}


def flip(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def first(out, pattern):
    return min(out.glob(pattern))


def replace(path, old, new):
    data = path.read_text()
    assert old in data
    path.write_text(data.replace(old, new, 1))


CHANGES = {
    "a record": (lambda out: replace(out / "records.ndjson", '"open"', '"shut"'), "Each line of"),
    "one record more": (
        lambda out: (out / "records.ndjson").write_bytes((out / "records.ndjson").read_bytes() + b"{}\n"),
        "Each line of",
    ),
    "one record less": (
        lambda out: (out / "records.ndjson").write_bytes(
            b"\n".join((out / "records.ndjson").read_bytes().split(b"\n")[1:])
        ),
        "Nothing that was asked",
    ),
    "stored records": (lambda out: flip(first(out, "log-*/records/*.zst")), "The stored records"),
    "leaves": (lambda out: flip(first(out, "log-*/records/*.leaves")), "The stored records"),
    "a manifest": (lambda out: replace(first(out, "log-*/batches/*/manifest.json"), ":0,", ":1,"), "The key has"),
    "a proof's path": (lambda out: flip(first(out, "log-*/proofs/*"), 40), "The key has"),
    "a proof's checkpoint": (lambda out: flip(first(out, "log-*/proofs/*"), -9), "The key has"),
    "the signature": (lambda out: flip(first(out, "log-*/checkpoint"), -9), "The key has"),
    "the checkpoint's size": (lambda out: replace(first(out, "log-*/checkpoint"), "\n5\n", "\n4\n"), "The key has"),
    "another key": (
        lambda out: first(out, "log-*/key.vkey").write_text(
            first(out, "log-*/key.vkey").read_text().split("+")[0] + "+0+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4\n"
        ),
        "The key has",
    ),
    "evidence": (lambda out: flip(first(out, "evidence/*")), "The evidence"),
    "stored evidence": (lambda out: flip(first(out, "log-*/evidence/*")), "The evidence"),
    "a place": (lambda out: replace(out / "places.csv", ",0,0,0,", ",0,1,1,"), "One record's"),
    "a table": (lambda out: replace(out / "csv/port.csv", '"open"', '"shut"'), "The tables"),
    "a column's name": (lambda out: replace(out / "csv/port.csv", '"state"', '"stat"'), "The tables"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_steps_find_a_change(pulled, tmp_path, what):
    change, heading = CHANGES[what]
    out = shutil.copytree(pulled("everything"), tmp_path / "out")
    change(out)
    failed = check(out)
    assert any(name.startswith(heading) for name in failed), failed


def test_evidence_of_another_scan_is_found(pulled, tmp_path):
    import hashlib

    out = shutil.copytree(pulled("everything"), tmp_path / "out")
    (out / f"evidence/{hashlib.sha256(b'x').hexdigest()}.xml").write_bytes(b"x")
    assert [name for name in check(out) if name.startswith("The evidence")]


def test_what_is_asked_cannot_leave_its_place_in_the_page():
    """A ticket with Markdown, template words and shell in it: the page's steps are still the page's."""
    from forwarder.pull import guide
    from forwarder.pull.answer import Answer
    from forwarder.pull.question import Question

    hostile = "```\n### 9. x\n@TABLES@ '; touch x; '"
    text = guide.guide(
        Answer("s3://x/`y`", Question.ask(ticket=hostile, user=hostile), notes=[hostile], tables=["port"])
    )
    assert text.count("\n```bash\n") == 8
    assert len(re.findall("^###", text, re.MULTILINE)) == 8
    assert '"ticket": "```\\n### 9. x\\n@tables@' in text
    assert "'; touch" not in text.split("```bash")[6]


@pytest.mark.parametrize("action", ["rotate", "revoke"])
def test_a_log_that_changed_its_key_is_followed_from_the_first_and_from_the_last(tmp_path, action):
    """Whoever has one of the keys gets the whole answer, and can check it with that key."""
    forwarder = Forwarder(tmp_path / "f")
    forwarder.forward(forwarder.write("0.xml", scan(1)))
    keys = [(forwarder.directory / "state/key.vkey").read_text()]
    for n in (1, 2):
        more = ("--trusted-size", "1") if action == "revoke" else ()
        assert forwarder.command("keys", action, *more).returncode == 0
        forwarder.forward(forwarder.write(f"{n}.xml", scan(1, start=1700000000 + n)))
    keys += [path.read_text() for path in sorted(forwarder.log.glob("keys/*.vkey"))]
    assert len(set(keys)) == 3
    for n, key in enumerate(keys):
        forwarder.write("a.vkey", key)
        out = tmp_path / f"out{n}"
        result = forwarder.command("pull", forwarder.archive, "--key", forwarder.directory / "a.vkey", "--out", out)
        assert result.returncode == 0, result.stderr
        assert len(list(out.glob("log-*/keys/*.json"))) == 2 - n
        assert (out / "records.ndjson").read_bytes().splitlines() == forwarder.lines()
        assert ("was revoked" in (out / "VERIFY.md").read_text()) is (action == "revoke" and n < 2)
        assert check(out) == {}
    out = tmp_path / "out0"
    for path in out.glob("log-*/keys/*.json"):
        replace(path, '"new":"', '"new":"x')
    assert [name for name in check(out) if name.startswith("The key has")]


def test_a_change_of_keys_that_the_old_key_did_not_sign_is_refused(tmp_path):
    forwarder = Forwarder(tmp_path / "f")
    forwarder.forward(forwarder.write("0.xml", scan(1)))
    shutil.copy(forwarder.directory / "state/key.vkey", tmp_path)
    assert forwarder.command("keys", "rotate").returncode == 0
    checkpoint = forwarder.log / f"checkpoints/{2:020}"
    note = checkpoint.read_bytes().splitlines(keepends=True)
    assert len(note) == 6
    for kept in ([*note[:4], note[4]], [*note[:4], note[5]]):
        checkpoint.write_bytes(b"".join(kept))
        result = forwarder.command("pull", forwarder.archive, "--key", tmp_path / "key.vkey", "--out", tmp_path / "out")
        assert (result.returncode, (tmp_path / "out").exists()) == (1, False), result.stderr
