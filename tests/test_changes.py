"""What changed between scans: change records, tombstones, and the table that they are made from."""

from ipaddress import ip_address

import pytest

from forwarder import assets, rebuild, state
from forwarder.anchoring import Anchor
from forwarder.ecs.check import problems
from forwarder.history import Asset
from forwarder.ledger import Ledger

HEAD = (
    '<?xml version="1.0"?>\n<!DOCTYPE nmaprun>\n<nmaprun scanner="nmap" args="{args}" start="{start}" version="7.93">\n'
    '<scaninfo type="syn" protocol="tcp" numservices="100" services="{ports}"/>\n'
)
TAIL = (
    '<runstats><finished time="{end}" elapsed="1" exit="success"/><hosts up="1" down="0" total="1"/></runstats>\n'
    "</nmaprun>\n"
)
PEM = "-----BEGIN CERTIFICATE-----&#xa;{}&#xa;-----END CERTIFICATE-----&#xa;"


def port(number, state="open", product="", version="", certificate=""):
    service = f'<service name="http" product="{product}" version="{version}" method="probed" conf="10"/>'
    script = (
        f'<script id="ssl-cert" output="x"><elem key="pem">{PEM.format(certificate)}</elem></script>'
        if certificate
        else ""
    )
    return (
        f'<port protocol="tcp" portid="{number}"><state state="{state}" reason="x" reason_ttl="64"/>'
        f"{service if product else ''}{script}</port>"
    )


def host(ip, *ports, end, state="up", reason="arp-response", rest="closed"):
    extra = f'<extraports state="{rest}" count="9"><extrareasons reason="reset" count="9"/></extraports>'
    return (
        f'<host starttime="{end - 1}" endtime="{end}"><status state="{state}" reason="{reason}"/>'
        f'<address addr="{ip}" addrtype="ipv4"/><ports>{extra}{"".join(ports)}</ports></host>\n'
    )


class Story:
    """Scans of one network, one after the other."""

    def __init__(self, forwarder):
        self.forwarder, self.n = forwarder, 0

    def scan(self, *hosts, ports="1-1000", args="nmap 10.9.0.0/24", at=None):
        self.n += 1
        start = 1_700_000_000 + (at if at is not None else self.n * 1000)
        body = "".join(host(*each[:-1], **{"end": start + 5} | each[-1]) for each in hosts)
        text = HEAD.format(args=args, start=start, ports=ports) + body + TAIL.format(end=start + 10)
        before = len(self.forwarder.records()) if self.n > 1 else 0
        outcome = self.forwarder.forward(self.forwarder.write(f"s{self.n}.xml", text))
        assert not outcome.rejected
        found = self.forwarder.records()[before:]
        assert [problem for record in found for problem in problems(record)] == []
        return found

    def table(self):
        with state.opened(self.forwarder.settings) as opened:
            rows = opened.ledger._db.execute("SELECT * FROM asset ORDER BY host_id").fetchall()
            reflects = opened.ledger.assets.batches
        return rows, reflects


@pytest.fixture
def story(forwarder):
    return Story(forwarder)


def actions(records):
    return [
        (r["event"]["action"], r["nmap"].get("port", {}).get("number"))
        for r in records
        if r["event"]["dataset"] == "nmap.change"
    ]


def tombstones(records):
    return [r for r in records if r["nmap"].get("port", {}).get("tombstone")]


def test_a_host_that_was_never_seen_is_one_change_but_in_the_first_scan_of_its_network(story):
    first = story.scan(("10.9.0.1", port(22), port(80), {}), ("10.9.0.2", port(22), {}))
    assert actions(first) == [], "the first scan of a network is its baseline"
    second = story.scan(("10.9.0.1", port(22), port(80), {}), ("10.9.0.3", port(1), port(2), {}), ("10.9.2.1", {}))
    assert actions(second) == [("host-new", None), ("host-gone", None)]
    assert actions(story.scan(("10.9.0.1", port(22), port(80), {}), ("10.9.0.3", port(1), port(2), {}))) == []


def test_records_name_their_scan(story):
    records = story.scan(("10.9.0.1", port(22), {}))
    ids = {record["nmap"]["scan"]["id"] for record in records}
    assert len(ids) == 1
    assert len(ids.pop()) == 64


def test_a_port_that_opens_and_closes_is_told_with_a_tombstone(story):
    story.scan(("10.9.0.1", port(22), {}))
    opened = story.scan(("10.9.0.1", port(22), port(80), {}))
    assert actions(opened) == [("port-opened", 80)]
    (change,) = [r for r in opened if r["event"]["dataset"] == "nmap.change"]
    assert "before" not in change["nmap"]["change"]
    assert change["nmap"]["change"]["after"] == {"state": "open"}
    closed = story.scan(("10.9.0.1", port(22), {}))
    assert actions(closed) == [("port-closed", 80)]
    (stone,) = tombstones(closed)
    assert stone["event"]["dataset"] == "nmap.port"
    assert stone["nmap"]["port"] == {
        "protocol": "tcp", "number": 80, "tombstone": True, "state": "closed", "reason": "reset",
    }  # fmt: skip
    assert stone["destination"] == {"ip": "10.9.0.1", "port": 80}
    (change,) = [r for r in closed if r["event"]["dataset"] == "nmap.change"]
    before = change["nmap"]["change"]["before"]
    assert before["state"] == "open"
    assert before["scan_id"] == opened[0]["nmap"]["scan"]["id"]
    assert change["nmap"]["change"]["after"] == {"state": "closed"}
    assert actions(story.scan(("10.9.0.1", port(22), {}))) == [], "it is told once"
    again = story.scan(("10.9.0.1", port(22), port(80), {}))
    (change,) = [r for r in again if r["event"]["dataset"] == "nmap.change"]
    assert change["nmap"]["change"]["before"]["state"] == "closed"


def test_what_a_scan_does_not_cover_does_not_close(story):
    story.scan(("10.9.0.1", port(22), port(8080), {}))
    records = story.scan(("10.9.0.1", port(22), {}), ports="1-100")
    assert actions(records) == []
    assert tombstones(records) == []


def test_a_listed_closed_port_closes_once_and_a_doubtful_one_does_not(story):
    story.scan(("10.9.0.1", port(22), port(80), port(81), {}))
    records = story.scan(("10.9.0.1", port(22), port(80, "closed"), port(81, "open|filtered"), {}))
    assert actions(records) == [("port-closed", 80)]
    assert len(tombstones(records)) == 1


def test_with_records_of_all_ports_the_closed_one_is_its_own_tombstone(story):
    story.forwarder.flags["records_ports"] = "all"
    story.scan(("10.9.0.1", port(22), port(80), {}))
    records = story.scan(("10.9.0.1", port(22), port(80, "closed"), {}))
    assert actions(records) == [("port-closed", 80)]
    assert tombstones(records) == []
    assert len({r["event"]["id"] for r in records}) == len(records)


def test_services_and_certificates_change(story):
    story.scan(("10.9.0.1", port(443, product="nginx", version="1.0", certificate="AAAA"), {}))
    assert actions(story.scan(("10.9.0.1", port(443), {}))) == [], "a scan without -sV says less, which is no change"
    records = story.scan(("10.9.0.1", port(443, product="nginx", version="1.1", certificate="BBBB"), {}))
    assert actions(records) == [("service-changed", 443), ("certificate-changed", 443)]
    (change, _) = [r for r in records if r["event"]["dataset"] == "nmap.change"]
    assert change["nmap"]["change"]["before"]["version"] == "1.0"
    assert change["nmap"]["change"]["after"]["version"] == "1.1"
    assert "became" in change["message"]


def test_a_host_that_is_down_or_does_not_answer_is_gone(story):
    story.scan(("10.9.0.1", port(22), {}), ("10.9.0.2", port(22), {}), ("10.9.1.1", port(22), {}))
    records = story.scan(("10.9.0.1", {"state": "down", "reason": "no-response"}), args="nmap -v 10.9.0.0/24")
    assert [a for a, _ in actions(records)] == ["host-gone", "host-gone"], "10.9.1.1 was not asked for"
    assert {r["host"]["ip"][0] for r in records if r["event"]["dataset"] == "nmap.change"} == {"10.9.0.1", "10.9.0.2"}
    assert actions(story.scan(("10.9.0.1", {"state": "down"}))) == []
    back = story.scan(("10.9.0.2", port(22), {}))
    assert actions(back) == [("host-new", None)]


@pytest.mark.parametrize(
    "args", ["nmap -iL hosts", "nmap 10.9.0.0/24 --exclude 10.9.0.2", "nmap example.com", "nmap 'unbalanced"]
)
def test_hosts_are_not_gone_when_it_is_not_certain_that_they_were_asked_for(story, args):
    story.scan(("10.9.0.1", port(22), {}), ("10.9.0.2", port(22), {}))
    assert actions(story.scan(("10.9.0.1", port(22), {}), args=args)) == []


def test_an_older_scan_changes_nothing(story):
    story.scan(("10.9.0.1", port(22), {}), at=50_000)
    assert actions(story.scan(("10.9.0.1", port(80), {}), at=10_000)) == []
    assert actions(story.scan(("10.9.0.1", port(22), {}), at=60_000)) == []


def test_addresses_that_are_only_taken_for_hosts_are_not_new(story):
    story.scan(("10.9.0.9", port(22), {}))
    hosts = ("10.9.0.1", {"reason": "user-set"}), ("10.9.0.2", port(22), {"reason": "user-set"})
    records = story.scan(*hosts, args="nmap -Pn -iL x")
    assert [r["host"]["ip"] for r in records if r["event"]["dataset"] == "nmap.change"] == [["10.9.0.2"]]


def test_the_table_is_made_again_from_the_archive(story):
    story.scan(("10.9.0.1", port(22), port(443, product="nginx", version="1", certificate="AAAA"), {}))
    story.scan(("10.9.0.1", port(22), {}), ("10.9.0.2", port(1), {}))
    story.scan(("10.9.0.1", port(22), port(443, product="nginx", version="2"), {"reason": "user-set"}))
    story.scan(("10.9.0.7", {"state": "down"}), ("10.9.0.2", port(1), port(2), {"rest": "filtered"}))
    before = story.table()
    assert before[1] == 4
    assert len(before[0]) == 4, "three hosts and a network"
    with state.opened(story.forwarder.settings) as opened:
        opened.ledger.assets.reflect(0)
        assert rebuild.catch_up(opened.ledger, opened.archive) == 4
    assert story.table() == before
    assert story.forwarder.verify().findings == []


def test_rebuild_is_a_command(story):
    story.scan(("10.9.0.1", port(22), {}))
    story.scan(("10.9.0.1", port(22), {}), ("10.9.0.2", port(22), {}))
    before = story.table()
    result = story.forwarder.command("rebuild")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(b"2 hosts known from 2 batches in ")
    assert story.table() == before


def test_a_batch_that_is_cut_between_a_host_and_its_changes_goes_on_with_them(story, monkeypatch):
    """The history of a host is only kept with its last record, so that what is made again is the same."""
    story.scan(("10.9.0.1", port(22), port(23), port(24), {}), ("10.9.0.2", port(1), {}))
    monkeypatch.setattr("forwarder.outbox.MAX_RECORDS", 2)
    records = story.scan(("10.9.0.1", port(22), port(25), {}), ("10.9.0.2", {}))
    assert actions(records) == [
        ("port-opened", 25), ("port-closed", 23), ("port-closed", 24), ("port-closed", 1)
    ]  # fmt: skip
    before = story.table()
    with state.opened(story.forwarder.settings) as opened:
        opened.ledger.assets.reflect(0)
        rebuild.catch_up(opened.ledger, opened.archive)
    assert story.table() == before
    assert story.forwarder.verify().findings == []


def test_a_run_that_is_killed_anywhere_tells_the_same_changes(story, monkeypatch):
    """Stopped after any number of its batches, the next run goes on as if nothing had happened."""
    whole = Story(type(story.forwarder)(story.forwarder.directory / "whole"))
    first = (("10.9.0.1", port(22), port(23), {}), ("10.9.0.2", port(1), {}), ("10.9.0.3", port(1), {}))
    second = (("10.9.0.1", port(22), port(80), {}), ("10.9.0.4", port(9), {}))
    whole.scan(*first)
    expected = {record["event"]["id"] for record in whole.scan(*second)}
    monkeypatch.setattr("forwarder.outbox.MAX_RECORDS", 1)
    for stop in range(2, 14):  # the first call is recovery's
        box = Story(type(story.forwarder)(story.forwarder.directory / f"{stop}"))
        box.scan(*first)
        before = len(box.forwarder.records())
        sealed = []

        def anchor(self, stop=stop, sealed=sealed, real=Anchor.__call__):
            sealed.append(1)
            if len(sealed) == stop:
                raise KeyboardInterrupt
            real(self)

        with monkeypatch.context() as patch:
            patch.setattr(Anchor, "__call__", anchor)
            with pytest.raises(KeyboardInterrupt):
                box.scan(*second)
        assert not box.forwarder.forward().rejected
        found = [record["event"]["id"] for record in box.forwarder.records()[before:]]
        assert len(found) == len(expected)
        assert set(found) == expected


def test_assets_of_a_range_come_some_at_a_time_and_none_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "AT_A_TIME", 3)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    known = [
        Asset("v", f"{n:03}", f"10.0.0.{n // 4}", "name", n % 3 != 0, "2" if n % 7 else "4", "s" if n % 5 else "this")
        for n in range(60)
    ]
    with ledger.transaction():
        ledger.assets.put(known)
    addresses = ip_address("10.0.0.2"), ip_address("10.0.0.9")
    found = [each.host_id for each in ledger.assets.up("v", addresses, but="this", before="3")]
    ledger.close()
    wanted = [each for each in known if each.up and 8 <= int(each.host_id) < 40]
    assert found == [each.host_id for each in wanted if each.scan_id == "s" and each.time == "2"]
