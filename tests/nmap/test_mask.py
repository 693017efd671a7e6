"""Secrets on command lines do not get into records, and what is none stays as it was."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.ecs import scans
from forwarder.ecs.context import Context, Options, Origin
from forwarder.ecs.tally import Tally
from forwarder.nmap.argline import join
from forwarder.nmap.mask import NAMES, mask, mask_line
from forwarder.nmap.survey import Survey


@pytest.mark.parametrize(
    ("words", "shown", "count"),
    [
        (["--script-args", "user=bob,pass=hunter2", "h"], "--script-args user=bob,pass=*** h", 1),
        (["--script-args=smbpassword=hunter2"], "--script-args=smbpassword=***", 1),
        (["-script-args", "smbpass = 'a,b}' ,x=1"], '-script-args "smbpass = ***,x=1"', 1),
        (["--script-args", 'pass="a\\",{}=b",user=c'], "--script-args pass=***,user=c", 1),
        (["--script-args", "web={user=x,pass=y},k=v"], "--script-args web={user=x,pass=***},k=v", 1),
        (["--script-args", "web={auth={password={a,{b}},z=1}}"], "--script-args web={auth={password=***,z=1}}", 1),
        (["--script-args", "creds.global='admin:hunter2'"], "--script-args creds.global=***", 1),
        (["--script-args", "snmpcommunity=private,token=a==,smbhash=0:1"], None, 3),
        (["--script-args", "pass=hunter2", "--script-args", "pwd=x"], None, 2),
        (["--script-args-file", "/home/bob/pass=word"], "--script-args-file /home/bob/pass=word", 0),
        (["--script-a", "pass=hunter2"], "--script-a pass=***", 1),
        (["--unknown", "pass=hunter2"], "--unknown pass=***", 1),
        (["--proxies", "http://bob:hun@ter2@p:80,socks4://q:1"], "--proxies http://bob:***@p:80,socks4://q:1", 1),
        (["--script-args", "url=http://bob:hunter2@h/,user=x"], "--script-args url=http://bob:***@h/,user=x", 1),
        (["-b", "bob:hunter2@ftp:21", "h"], "-b bob:***@ftp:21 h", 1),
        (["-bbob:hunter2@ftp"], "-bbob:***@ftp", 1),
        (["--script-args", "pass=***"], "--script-args pass=***", 0),
        (["--script-args", "pass="], "--script-args pass=", 0),
        (["-oX", "key=1.xml", "-D", "ME,RND:5", "192.0.2.0/24"], "-oX key=1.xml -D ME,RND:5 192.0.2.0/24", 0),
        (["--stylesheet", "https://host:443/x@y"], "--stylesheet https://host:443/x@y", 0),
    ],
)
def test_secrets_are_replaced_and_counted(words, shown, count):
    masked, found = mask(["nmap", *words])
    assert found == count
    assert "hunter2" not in join(masked)
    if shown is not None:
        assert join(masked[1:]) == shown
    assert mask(masked) == (masked, 0)


def test_other_tools_are_masked_too():
    assert mask(["/usr/bin/ncat", "--proxy-auth", "bob:hunter2", "h"]) == (
        ["/usr/bin/ncat", "--proxy-auth", "bob:***", "h"],
        1,
    )
    assert mask(["sh", "-c", "nmap --script-args pass=hunter2 h"])[1] == 1


def test_names_are_configurable():
    words = ["nmap", "--script-args", "pin=1234,pass=hunter2"]
    assert mask(words, ["PIN"])[0][2] == "pin=***,pass=hunter2"
    assert mask(words, []) == (words, 0)


def test_a_line_without_secrets_keeps_its_bytes():
    odd = 'nmap  "a\\ b  -oX "x y" --script-args user=bob'
    assert mask_line(odd) == (odd, 0)


SECRET = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=",{}=\"'\\@:/ \t\n\r\v\f*"), min_size=4, max_size=12
).filter(lambda text: not text.isspace() and text == text.strip())
KEY = st.sampled_from(
    ["pass", "smbpassword", "x.password", "API-token", "snmpcommunity", "smbhash", "key", "creds.http"]
)
QUOTE = st.sampled_from(["{}", "'{}'", '"{}"', " {}", "[{}", "{{a={}}}", "{{{}}}", "'{}"])
BEFORE = st.text(alphabet="ab=,{}'\" .", max_size=8)


@given(KEY, SECRET, QUOTE, st.sampled_from(["user=bob,", "x={a=1},", "", "t={"]), st.text(alphabet=",}ab=", max_size=5))
def test_secrets_never_leak(key, secret, quote, before, after):
    value = f"{before}{key}={quote.format(secret + 'S3CRET')},{after}"
    for words in (["--script-args", value], [f"--script-args={value}"], ["--nonsense", value]):
        masked, count = mask(["nmap", *words, "192.0.2.1"])
        assert count >= 1
        assert "S3CRET" not in "".join(masked)
        assert "S3CRET" not in mask_line(join(["nmap", *words]))[0]


@given(st.lists(st.text(max_size=20), max_size=6), BEFORE)
def test_masking_never_fails_and_is_done_once(words, value):
    masked, _ = mask(["nmap", *words, "--script-args", value])
    assert mask(masked, NAMES)[0] == masked


@pytest.mark.parametrize("scanner", ["nmap", "masscan"])
def test_records_of_scans_have_no_secrets(scanner):
    args = "nmap --script http-brute --script-args user=bob,pass=hunter2 http://bob:hunter2@h"
    skipped = '<target specification="http://bob:hunter2@h" status="skipped" reason="invalid"/>'
    data = f'<nmaprun scanner="{scanner}" args="{args}" start="1772442776">{skipped}</nmaprun>'.encode()
    document = next(iter(Survey(io.BytesIO(data))))
    for names, hidden in ((NAMES, True), ((), False)):
        context = Context(document, Origin("x", "0" * 64, len(data), ""), Options(mask=names), "s")
        line = scans.record(context, Tally())[1].decode()
        assert ("hunter2" not in line) == hidden
        assert json.loads(line)["nmap"]["scan"].get("masked", 0) == 2 * hidden
        assert json.loads(line)["process"]["command_line"] == json.loads(line)["nmap"]["scan"]["args"]
