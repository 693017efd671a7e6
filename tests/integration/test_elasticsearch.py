"""From scans to answers, on a real Elasticsearch: setup, delivery, and the queries that the documentation gives."""

import json
import os
import re
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from conftest import Forwarder, need, scan
from elastic_adapt import adapt, materialise

from forwarder import elastic as connection
from forwarder.config import Settings
from forwarder.setup.artifacts import Artifact, artifacts
from forwarder.setup.elasticsearch import Installer

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests/fixtures/nmap/sample.xml"
PAGE = (ROOT / "docs/ELASTICSEARCH.md").read_text()
KQL = re.findall(r"```kql (\S+)\n(.*?)\n```", PAGE, re.DOTALL)
ESQL = re.findall(r"```esql\n(.*?)\n```", PAGE, re.DOTALL)


def wanted(cluster):
    """What setup installs; on the server of the tests adapted to it, and without what it has no module for."""
    if cluster.full:
        return artifacts(30)
    return [Artifact(a.kind, a.name, adapt(a.body)[0]) for a in artifacts(30) if a.kind != "transform"]


def settings(cluster, user, directory, **more):
    name, password = cluster.logins[user]
    (directory / f"{user}.password").write_text(password + "\n")
    flags = {
        "elasticsearch_url": cluster.url,
        "elasticsearch_user": name,
        "elasticsearch_password_file": str(directory / f"{user}.password"),
        "elasticsearch_ca_file": str(cluster.ca) if cluster.ca else "",
    }
    return flags | more


def installer(cluster, directory, said=lambda line: None):
    (directory / "config.toml").touch()
    values = Settings(settings(cluster, "setup", directory), str(directory / "config.toml"), {})
    return Installer(connection.connect(values), cluster.url, said)


@pytest.fixture(scope="module")
def ready(elastic, tmp_path_factory):
    """The shared cluster with everything installed, by a user who may just do that."""
    installer(elastic, tmp_path_factory.mktemp("setup")).install(wanted(elastic))
    return elastic


def shipper(cluster, directory, namespace, **more):
    directory.mkdir(parents=True, exist_ok=True)
    flags = settings(cluster, "shipper", directory, namespace=namespace, elasticsearch_retry_seconds=5)
    return Forwarder(directory, flags | more)


def documents(cluster, namespace, dataset="*"):
    index = f"logs-nmap.{dataset}-{namespace}"
    with cluster.client() as admin:
        admin.indices.refresh(index=index)
        hits = admin.search(index=index, size=10_000)["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


@pytest.fixture
def asked(ready, namespace, tmp_path):
    """Two scans of one host, between which the web server was changed; delivered, with latest state."""
    box = shipper(ready, tmp_path / "f", namespace, scan_vantage="dmz")
    earlier = SAMPLE.read_text().replace("17724427", "17723427").replace("17724428", "17723428")
    earlier = earlier.replace("1.24.0", "1.22.1").replace('portid="873"', 'portid="872"')
    outcome = box.forward(box.write("1.xml", earlier), box.write("2.xml", SAMPLE.read_text()))
    assert (outcome.undelivered, outcome.rejected) == ("", [])
    documents(ready, namespace)
    with ready.client() as admin:
        for artifact in artifacts(0):
            if artifact.kind == "transform" and artifact.name in {"nmap-latest-port", "nmap-latest-host"}:
                body = json.loads(json.dumps(artifact.body).replace('-*"', f'-{namespace}"'))
                body["dest"]["index"] = f"{artifact.name}-{namespace}"
                materialise(admin, body)
    return box


def here(text, namespace):
    return re.sub(r"(logs-nmap\.\w+)-\*", rf"\1-{namespace}", text).replace(
        "nmap-latest-port", f"nmap-latest-port-{namespace}"
    )


@pytest.mark.parametrize(("index", "query"), KQL, ids=[query[:50] for _, query in KQL])
def test_each_kql_query_of_the_documentation_finds_something(ready, asked, namespace, index, query):
    with ready.client() as reader:
        found = reader.search(index=here(index, namespace), query={"kql": {"query": query}})
    assert found["hits"]["total"]["value"] > 0


@pytest.mark.parametrize("query", ESQL, ids=[query.splitlines()[1][2:50] for query in ESQL])
def test_each_esql_query_of_the_documentation_finds_something(ready, asked, namespace, query):
    with ready.client("reader") as reader:
        assert len(reader.esql.query(query=here(query, namespace))["values"]) > 0


def test_the_latest_state_of_a_port_tells_that_it_closed(ready, asked, namespace):
    with ready.client() as admin:
        found = admin.search(index=f"nmap-latest-port-{namespace}", size=100)["hits"]["hits"]
    ports = {hit["_source"]["nmap"]["port"]["number"]: hit["_source"] for hit in found}
    assert {number: ports[number]["nmap"]["port"]["state"] for number in (443, 872, 873)} == {
        443: "open", 872: "closed", 873: "open",
    }  # fmt: skip
    assert ports[443]["service"]["version"] == "1.24.0", "the newest of two scans"
    assert ports[872]["nmap"]["port"]["tombstone"] is True
    changes = {
        (doc["event"]["action"], doc["nmap"]["port"]["number"])
        for doc in documents(ready, namespace, "change").values()
    }
    assert changes == {("port-closed", 872), ("port-opened", 873), ("service-changed", 443)}


def test_setup_is_idempotent_and_check_finds_what_is_missing_or_changed(ready, tmp_path):
    said = []
    tool = installer(ready, tmp_path, said.append)
    things = wanted(ready)
    assert tool.check(things) == []
    assert (tool.install(things), said) == (0, [])
    changed = Artifact(things[1].kind, things[1].name, things[1].body | {"version": 0})
    missing = Artifact("index_template", "logs-nmap.never", {"index_patterns": ["never"]})
    assert tool.check([changed, missing]) == [
        f"component template {changed.name} differs in version",
        "index template logs-nmap.never is missing",
    ]


def test_delivered_documents_are_the_sealed_records(ready, asked, namespace):
    sealed = {record["event"]["id"]: record for record in asked.records()}
    found = documents(ready, namespace)
    assert found.keys() == sealed.keys()
    manifests = {manifest.sequence: manifest for manifest in asked.manifests()}
    lines = asked.lines()
    for identity, document in found.items():
        added = {name: document.pop(name) for name in list(document) if "." in name}
        document["event"].pop("ingested", None)
        assert document == sealed[identity]
        manifest = manifests[added["nmap.seal.batch"]]
        assert json.loads(lines[added["event.sequence"]]) == sealed[identity]
        assert added["nmap.seal.index"] + manifest.first_record == added["event.sequence"]
        assert added["nmap.seal.anchor"] == "directory"
        assert added["nmap.backfill"] is True


class _Banner(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"220 mail.example ESMTP ready\r\n")


def test_a_real_scan_is_counted_as_its_xml_counts(ready, namespace, tmp_path):
    nmap = need("nmap")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Banner) as server:
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port, output = server.server_address[1], tmp_path / "scan.xml"
        command = [nmap, "-sT", "-sV", "-T4", "-p", f"1-20,{port}", "-oX", str(output), "127.0.0.1-3", "::1"]
        subprocess.run([arg for arg in command if arg != "::1"], check=True, stdout=subprocess.DEVNULL)
        server.shutdown()
    xml = ET.parse(output).getroot()
    open_ports = [
        (host.find("address").get("addr"), int(entry.get("portid")))
        for host in xml.iter("host")
        for entry in host.iter("port")
        if entry.find("state").get("state") == "open"
    ]
    box = shipper(ready, tmp_path / "f", namespace)
    outcome = box.forward(output)
    assert (outcome.undelivered, outcome.rejected) == ("", [])
    found = documents(ready, namespace, "port").values()
    assert sorted((doc["destination"]["ip"], doc["destination"]["port"]) for doc in found) == sorted(open_ports)
    assert ("127.0.0.1", port) in open_ports
    assert len(documents(ready, namespace, "host")) == len(list(xml.iter("host")))
    (run,) = documents(ready, namespace, "scan").values()
    assert run["process"]["command_line"] == xml.get("args")
    assert "nmap.backfill" not in run


def test_the_shipper_can_deliver_but_neither_read_nor_change_what_it_delivered(ready, asked, namespace):
    (identity, *_) = documents(ready, namespace, "scan")
    name = f"logs-nmap.scan-{namespace}"
    with ready.client("shipper") as client:
        for path, method, body in (
            (f"/{name}/_search", "GET", None),
            (f"/{name}/_doc/{identity}", "DELETE", None),
            (f"/{name}/_update/{identity}", "POST", {"doc": {"message": "x"}}),
        ):
            with pytest.raises(Exception, match=r"403|security_exception"):
                client.perform_request(
                    method, path, body=body, headers={"accept": "application/json", "content-type": "application/json"}
                )


def test_a_mapping_that_refuses_a_record_does_not_stop_the_others(ready, namespace, tmp_path):
    with ready.client() as admin:
        admin.indices.put_index_template(
            name=f"refusing-{namespace}",
            index_patterns=[f"logs-nmap.port-{namespace}"],
            data_stream={},
            priority=9000,
            template={"mappings": {"properties": {"service": {"properties": {"version": {"type": "ip"}}}}}},
        )
        box = shipper(ready, tmp_path / "f", namespace)
        outcome = box.forward(box.write("s.xml", SAMPLE.read_text()))
        assert int(outcome.exit_code) == 65
        (line,) = outcome.rejected
        assert "refuses 1 records of batch 0 (400" in line
        assert "1.24.0" in line
        assert len(documents(ready, namespace)) == len(box.records()) - 1
        assert json.loads(box.command("status", "--json").stdout)["delivery"]["refused"] == 1


def test_without_templates_nothing_is_written_and_setup_is_named(own_elastic, tmp_path):
    with own_elastic() as server:
        box = shipper(server, tmp_path / "f", "default")
        outcome = box.forward(box.write("s.xml", scan(1)))
        assert int(outcome.exit_code) == 2
        assert "setup elasticsearch" in outcome.undelivered
        with server.client() as admin:
            assert admin.indices.resolve_index(name="logs-*")["indices"] == []


def test_a_server_that_is_killed_in_the_middle_loses_and_doubles_nothing(own_elastic, tmp_path):
    with own_elastic() as server:
        installer(server, tmp_path).install(wanted(server))
        box = shipper(server, tmp_path / "f", "default", elasticsearch_bulk_documents=50)
        box.init()
        box.write("s.xml", scan(2000, 3))
        password = Path(box.flags["elasticsearch_password_file"]).read_text().strip()
        options = ["--elasticsearch", server.url, "--user", "shipper"]
        environment = {
            "NMAP_FORWARDER_ELASTICSEARCH_PASSWORD": password,
            "NMAP_FORWARDER_ELASTICSEARCH_BULK_DOCUMENTS": "50",
            "NMAP_FORWARDER_ELASTICSEARCH_RETRY_SECONDS": "1",
        }
        killer = threading.Thread(target=_kill_when_it_has_some, args=(server,))
        killer.start()
        result = box.command("forward", *options, box.directory / "s.xml", env=environment)
        killer.join()
        assert result.returncode == 75, result.stderr
        assert len(box.records()) == 8001, "an outage does not keep records from being sealed"
        waiting = json.loads(box.command("status", "--json").stdout)["delivery"]
        assert waiting["waiting"] > 0
        server.restart()
        result = box.command("deliver", *options, env=environment)
        assert (result.returncode, result.stderr) == (0, b"")
        found = documents(server, "default")
        assert found.keys() == {record["event"]["id"] for record in box.records()}
        with server.client() as admin:
            assert admin.count(index="logs-nmap.*-default")["count"] == 8001
        assert json.loads(box.command("status", "--json").stdout)["delivery"]["waiting"] == 0


def _kill_when_it_has_some(server):
    with server.client() as admin:
        for _ in range(600):
            asked = admin.options(ignore_status=(404, 503))  # 503: a stream whose first shard is not there yet
            asked.indices.refresh(index="logs-nmap.*")
            if asked.count(index="logs-nmap.*").get("count", 0) > 500:
                break
            time.sleep(0.02)
    server.kill()


def test_a_forwarder_that_is_killed_in_the_middle_loses_and_doubles_nothing(ready, namespace, tmp_path):
    box = shipper(ready, tmp_path / "f", namespace)
    box.init()
    box.write("s.xml", scan(1000, 3))
    environment = {
        "PATH": "/usr/bin:/bin",
        "NMAP_FORWARDER_STATE_DIR": str(box.directory / "state"),
        "NMAP_FORWARDER_CONFIG": str(box.directory / "config.toml"),
        "NMAP_FORWARDER_NAMESPACE": namespace,
        "NMAP_FORWARDER_INTAKE_SETTLE": "0",
        "NMAP_FORWARDER_ELASTICSEARCH_URL": ready.url,
        "NMAP_FORWARDER_ELASTICSEARCH_USER": ready.logins["shipper"][0],
        "NMAP_FORWARDER_ELASTICSEARCH_PASSWORD": ready.logins["shipper"][1],
        "NMAP_FORWARDER_ELASTICSEARCH_BULK_DOCUMENTS": "20",
        "NMAP_FORWARDER_ELASTICSEARCH_CA_FILE": str(ready.ca or ""),
    }
    command = [sys.executable, "-m", "forwarder", "forward", str(box.directory / "s.xml")]
    kills = 0
    for delay in (1.0, 1.3, 1.6, 1.9, 2.2, 60):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        try:
            _, complaints = process.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, complaints
        break
    assert kills
    found = documents(ready, namespace)
    assert len(found) == len(box.records()) == 4001
    assert found.keys() == {record["event"]["id"] for record in box.records()}


def test_the_certificate_decides(own_elastic, tmp_path):
    with own_elastic(tls=True) as server:
        installer(server, tmp_path).install(wanted(server))
        untrusting = shipper(server, tmp_path / "a", "default", elasticsearch_ca_file="")
        outcome = untrusting.forward(untrusting.write("s.xml", scan(1)))
        assert int(outcome.exit_code) == 2
        assert "is not trusted" in outcome.undelivered
        assert len(untrusting.records()) > 0
        trusting = shipper(server, tmp_path / "b", "default")
        outcome = trusting.forward(trusting.write("s.xml", scan(1)))
        assert (outcome.undelivered, outcome.delivered) == ("", len(trusting.records()))
        assert shutil.which("openssl")
        pem = subprocess.run(
            ["openssl", "s_client", "-connect", server.url.removeprefix("https://"), "-servername", "localhost"],
            input=b"", capture_output=True, check=False,
        ).stdout  # fmt: skip
        shown = subprocess.run(
            ["openssl", "x509", "-noout", "-fingerprint", "-sha256"], input=pem, capture_output=True, check=True
        ).stdout.decode()
        pinned = shipper(
            server,
            tmp_path / "c",
            "default",
            elasticsearch_ca_file="",
            elasticsearch_fingerprint=shown.strip().rpartition("=")[2],
            observer_name="other",
        )
        outcome = pinned.forward(pinned.write("s.xml", scan(2, start=1700001234)))
        assert (outcome.undelivered, outcome.rejected) == ("", [])


def test_the_demonstration_shows_the_records_in_a_cluster_that_the_user_has(ready, tmp_path):
    """Where the server of the tests lacks what setup installs, that has been installed in an adapted form."""
    name, password = ready.logins["admin"]
    environment = os.environ | {
        "ELASTICSEARCH_URL": ready.url,
        "SETUP": "yes" if ready.full else "no",
        "NMAP_FORWARDER_ELASTICSEARCH_USER": name,
        "NMAP_FORWARDER_ELASTICSEARCH_PASSWORD": password,
        "NMAP_FORWARDER_ELASTICSEARCH_CA_FILE": str(ready.ca or ""),
    }
    command = [sys.executable, str(ROOT / "docs/demo.py")]
    shown = subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "documents delivered" in shown
    assert re.search(r"nmap\.port\s*$", shown, re.MULTILINE)
    if shutil.which("nmap"):
        assert "port-closed" in shown
    assert "The verifier found it." in shown
