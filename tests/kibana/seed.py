"""A small company's records of 30 days, of every dataset, so that each panel of the dashboards has something to show."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
NETWORKS = {"dmz": "192.0.2", "office": "198.51.100", "lab": "203.0.113"}
OWNERS = {
    "dmz": {"owner": "web team", "criticality": "critical"},
    "office": {"owner": "workplace", "criticality": "medium"},
    "lab": {"owner": "research", "criticality": "low"},
}
USERS = {"alice": "CHG-1041", "bob": "CHG-1042", "carol": None}
SERVICES = [
    (22, "ssh", "OpenSSH", "9.2p1", "cpe:/a:openbsd:openssh:9.2p1"),
    (80, "http", "nginx", "1.24.0", "cpe:/a:igor_sysoev:nginx:1.24.0"),
    (443, "http", "nginx", "1.24.0", "cpe:/a:igor_sysoev:nginx:1.24.0"),
    (445, "microsoft-ds", "Samba smbd", "4.17", "cpe:/a:samba:samba:4.17"),
    (3306, "mysql", "MySQL", "8.0.36", "cpe:/a:mysql:mysql:8.0.36"),
    (3389, "ms-wbt-server", "Microsoft Terminal Services", None, "cpe:/o:microsoft:windows"),
]
SYSTEMS = [("Linux", "linux", "Linux 5.0 - 6.2"), ("Windows", "windows", "Microsoft Windows Server 2019")]
CVES = [
    ("CVE-2023-44487", "High", 7.5, True),
    ("CVE-2024-6387", "High", 8.1, True),
    ("CVE-2021-44142", "Critical", 9.9, False),
    ("CVE-2023-48795", "Medium", 5.9, False),
]
COMMANDS = [
    ("nmap -sS -sV -O -oX scan.xml {}", "low", [], "-O -oX -sS -sV", None),
    ("nmap -sS --script vuln -oX scan.xml {}", "high", ["vuln scripts"], "--script -oX -sS", "intrusive"),
    ("nmap -sS -D RND:5 -f -T1 -oX scan.xml {}", "critical", ["evasion"], "-D -T -f -oX -sS", None),
    ("nmap -sT -p- -oX scan.xml {}", "medium", ["all ports"], "-oX -p -sT", None),
]
ORIGIN = "example.com/nmap/scanner-1"


def digest(*parts: object) -> str:
    """A hash that stands for one of ours."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class Company:
    """Makes the records; the same seed and end make the same ones."""

    def __init__(self, end: datetime, days: int = 30, seed: int = 7) -> None:
        self.end, self.days, self.random, self.sequence = end, days, random.Random(seed), 0

    def records(self) -> Iterator[Json]:
        """All records, day after day."""
        for day in range(self.days, -1, -1):
            at = self.end - timedelta(days=day, hours=2)
            for vantage in NETWORKS:
                if vantage == "lab" and day % 10:
                    continue
                yield from self.scan(at - timedelta(hours=self.random.randrange(12)), day, vantage)
            yield from self.seals(at, day)
            if day % 3 == 0:
                yield from self.alerts(at, day)

    def record(self, at: datetime, dataset: str, kind: str, **members: Any) -> Json:
        """What every document has."""
        self.sequence += 1
        sealed = {"origin": ORIGIN, "batch": 100 + self.sequence // 60, "index": self.sequence % 60}
        sealed["anchor"] = "none" if self.sequence % 97 == 0 else "s3:example-archive"
        nmap = members.pop("nmap", {}) | {"seal": sealed}
        if self.sequence % 89 == 0:
            nmap["backfill"] = True
        event = {"kind": kind, "module": "nmap", "dataset": f"nmap.{dataset}", "provider": "nmap-forwarder"}
        event |= {"id": digest(self.sequence), "sequence": self.sequence, "hash": digest("sealed", self.sequence)}
        event |= {"created": stamp(at, minutes=4), "ingested": stamp(at, minutes=5)} | members.pop("event", {})
        return {
            "@timestamp": stamp(at),
            "data_stream": {"type": "logs", "dataset": f"nmap.{dataset}", "namespace": "default"},
            "observer": {"name": "scanner-1", "ip": ["192.0.2.7"], "type": "scanner", "product": "nmap"},
            "event": event,
            "nmap": nmap,
        } | members

    def scan(self, at: datetime, day: int, vantage: str) -> Iterator[Json]:
        """A scan, its execution, what it found and what had changed."""
        network = f"{NETWORKS[vantage]}.0/24"
        user = self.random.choice([*USERS])
        command, risk, why, options, category = self.random.choice(COMMANDS)
        failed, off = self.random.random() < 0.1, at.hour < 7 or at.isoweekday() > 5
        scan_id = digest("scan", day, vantage)
        who: Json = {"user": {"name": user, "id": str(1000 + len(user))}}
        if USERS[user]:
            who["labels"] = {"ticket": USERS[user]}
        shared = {"scan": {"id": scan_id, "vantage": vantage}, "target": {"network": [network]}}
        found = shared | {"target": shared["target"] | OWNERS[vantage]}
        asked = {
            "target_wanted": [network],
            "target_range": [network],
            "target_count": 256,
            "hour": at.hour,
            "weekday": at.isoweekday(),
            "option_set": options,
            "risk": {"class": risk, "reason": why},
        }
        if category:
            asked["script_category"] = [category]
        policy: Json = {
            "action": "allowed" if USERS[user] else "flagged",
            "hours": "off" if off else "working",
            "scope": "outside" if vantage == "lab" else "inside",
        }
        if policy["action"] == "flagged":
            policy["reason"] = ["ticket-missing", *(["off-hours"] if off else [])]
        output = self.random.choice(["met"] * 8 + ["missing", "discarded"])
        claimed = self.random.random() > 0.15
        line = {"command_line": command.format(network), "name": "nmap", "entity_id": digest("run", scan_id)[:16]}
        event = {"start": stamp(at, minutes=-20), "end": stamp(at), "duration": 1200 * 10**9}
        if claimed:
            yield self.record(
                at - timedelta(minutes=20),
                "audit",
                "event",
                message=f"{user} ran {line['command_line']}",
                event=event
                | {
                    "action": "nmap-refused" if day == 3 else "nmap-executed",
                    "outcome": "success",
                    "category": ["process"],
                },
                process=line | {"pid": 2290, "exit_code": 0},
                host={"name": "scanner-1"},
                nmap=shared
                | {"scan": shared["scan"] | asked, "policy": policy, "audit": {"source": ["auditd"]}}
                | {"attribution": {"status": "final", "output": output, "confidence": "exact"}},
                **who,
            )
        yield self.record(
            at,
            "scan",
            "event",
            message=f"{line['command_line']}: 6 hosts up, {'cut' if failed else 'complete'}",
            event=event
            | {"action": "scan-completed", "outcome": "failure" if failed else "success", "category": ["network"]}
            | ({"reason": f"asked for in {USERS[user]}"} if USERS[user] else {}),
            process=line,
            file={"path": f"/var/spool/nmap/{scan_id[:8]}.xml", "name": f"{scan_id[:8]}.xml"},
            nmap=shared
            | {
                "scan": shared["scan"]
                | asked
                | {"complete": not failed, "hosts": {"up": 6}, "open_ports": 20, "args": line["command_line"]},
                "policy": policy,
                "attribution": {
                    "status": "final",
                    "confidence": self.random.choice(["exact", "exact", "strong", "weak"]) if claimed else "none",
                    "reason": ["output-hash"] if claimed else ["no execution"],
                    "output": "met" if claimed else "unclaimed",
                },
            },
            **(who if claimed else {}),
        )
        for n in range(6):
            yield from self.host(at, day, vantage, n, found, who)

    def host(self, at: datetime, day: int, vantage: str, n: int, shared: Json, who: Json) -> Iterator[Json]:
        """A host, its ports and what is wrong with them."""
        ip = f"{NETWORKS[vantage]}.{10 + n}"
        name, kind, full = SYSTEMS[n % 2]
        host = {"id": digest(vantage, ip)[:32], "ip": [ip], "name": f"{vantage}-{n}.example.com"}
        services = [s for i, s in enumerate(SERVICES) if (i + n) % 2 == 0 or (i == 4 and day < 9)]
        yield self.record(
            at,
            "host",
            "state",
            message=f"{host['name']} ({ip}) is up, {len(services)} open ports",
            host=host | {"os": {"name": name, "type": kind, "full": full}},
            nmap=shared
            | {
                "host": {
                    "state": "up",
                    "port": {"open_count": len(services), "open": {"tcp": [s[0] for s in services]}},
                }
            },
            **who,
        )
        for number, service, product, version, cpe in SERVICES:
            there = (number, service, product, version, cpe) in services
            if not there and not (number == 80 and day == 4):
                continue
            found: Json = {"name": service, "product": product, "cpe": [cpe]} | (
                {"version": version} if version else {}
            )
            port: Json = {"number": number, "protocol": "tcp", "state": "open" if there else "closed", "service": found}
            if not there:
                port["tombstone"] = True
            where = {"destination": {"ip": ip, "port": number}, "source": {"ip": "192.0.2.7"}}
            where |= {"network": {"transport": "tcp", "protocol": service}, "service": {"type": service}}
            more: Json = {}
            inside = shared | {"port": port}
            if number == 443 and there:
                until = stamp(self.end + timedelta(days=12 * n - 10))
                subject = {"common_name": [host["name"]]}
                x509 = {"not_after": until, "subject": subject, "issuer": {"common_name": ["Example CA"]}}
                more = {"tls": {"server": {"x509": x509, "hash": {"sha256": digest("certificate", ip)}}}}
                inside |= {"tls": {"version": ["TLSv1.0", "TLSv1.2"], "least_strength": "C", "weak_cipher": ["3DES"]}}
            if number == 445:
                inside |= {"login": {"anonymous": True, "script": ["smb-anon"]}}
            message = f"tcp/{number} {port['state']} {service} {product} on {host['name']} ({ip})"
            yield self.record(at, "port", "state", message=message, host=host, nmap=inside, **where, **more, **who)
            if there and number in {22, 80, 445}:
                yield self.vulnerability(at, host, where, shared, who, n)
            if day == 8 and number == 3306:
                yield self.change(at, "port-opened", host, where, shared)
            if day in {4, 15} and number == 80:
                yield self.change(at, "port-closed" if day == 4 else "service-changed", host, where, shared)

    def vulnerability(self, at: datetime, host: Json, where: Json, shared: Json, who: Json, n: int) -> Json:
        """A CVE of a service."""
        identity, severity, score, exploit = CVES[n % len(CVES)]
        return self.record(
            at,
            "vulnerability",
            "state",
            message=f"{identity} ({severity}) on {host['name']}",
            host=host,
            vulnerability={"id": identity, "severity": severity, "score": {"base": score}, "enumeration": "CVE"},
            nmap=shared | {"vulnerability": {"script": "vulners", "exploit": exploit, "product": "cpe:/a:example:it"}},
            **where,
            **who,
        )

    def change(self, at: datetime, action: str, host: Json, where: Json, shared: Json) -> Json:
        """What is other than before."""
        return self.record(
            at,
            "change",
            "event",
            message=f"{action} {host['name']} tcp/{where['destination']['port']}",
            event={"action": action, "category": ["host", "network"], "type": ["change"]},
            host=host,
            nmap=shared | {"change": {"before": {"state": "closed", "time": stamp(at - timedelta(days=1))}}},
            **where,
        )

    def seals(self, at: datetime, day: int) -> Iterator[Json]:
        """Anchors, heartbeats and verifications; one batch is never locked away."""
        batch = 200 + self.days - day
        if day != 11:
            until = stamp(self.end + timedelta(days=40 - day))
            anchor = {"batch": batch, "origin": ORIGIN, "records": 60 + day, "root": digest("root", batch)}
            anchor |= {"bucket": "example-archive", "mode": "COMPLIANCE", "retain_until": until}
            yield self.seal(at, "batch-anchored", f"batch {batch} is locked", nmap={"anchor": anchor})
        for hour in (0, 6, 12, 18):
            yield self.seal(at - timedelta(hours=hour), "heartbeat", "the forwarder is there")
        whole = {"verification": {"origin": ORIGIN, "checkpoint": batch + 1}}
        if day % 5 == 1:
            yield self.seal(at, "archive-verified", "the archive is whole", user={"name": "auditor"}, nmap=whole)
        if day == 12:
            said = {"code": "anchor-missing", "message": "batch 219 is not in the bucket"}
            yield self.seal(at, "verification-failed", said["message"], "failure", error=said, nmap=whole)

    def seal(self, at: datetime, action: str, message: str, outcome: str = "success", **members: Any) -> Json:
        """A record of the chain."""
        event = {"action": action, "outcome": outcome, "category": ["configuration"]}
        return self.record(at, "seal", "event", message=message, event=event, **members)

    def alerts(self, at: datetime, day: int) -> Iterator[Json]:
        """Findings of ours."""
        rules = [
            ("Scan without ticket", 21),
            ("Evasion options", 73),
            ("Sweep above habit", 47),
            ("Output altered", 82),
        ]
        name, score = rules[day // 3 % 4]
        technique = {"id": ["T1046"], "name": ["Network Service Discovery"]}
        yield self.record(
            at,
            "alert",
            "alert",
            message=f"{name}: carol on scanner-1",
            event={
                "severity": score,
                "risk_score": score,
                "reason": "more than in 90 days before",
                "action": "finding",
            },
            rule={"name": name, "category": "behaviour", "id": name.lower().replace(" ", "-")},
            threat={"technique": technique, "tactic": {"id": ["TA0007"], "name": ["Discovery"]}},
            user={"name": self.random.choice([*USERS])},
            labels={"ticket": "CHG-1041"},
            nmap={
                "scan": {"id": digest("scan", day, "dmz"), "vantage": "dmz"},
                "target": {"network": ["192.0.2.0/24"]},
            },
        )


def stamp(at: datetime, minutes: int = 0) -> str:
    """A time as our records have it."""
    return (at + timedelta(minutes=minutes)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
