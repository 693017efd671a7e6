"""Which network an address is in, and whose it is."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.ecs.networks import Networks, Owner, owners
from forwarder.errors import UsageError

HEAD = "network,owner,criticality\n"
ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@st.composite
def networks(draw):
    address = draw(ADDRESSES)
    return ip_network(f"{address}/{draw(st.integers(0, address.max_prefixlen))}", strict=False)


@given(st.lists(networks(), max_size=20), ADDRESSES)
def test_the_smallest_network_counts(known, address):
    around = [network for network in known if network.version == address.version and address in network]
    wanted = str(max(around, key=lambda network: network.prefixlen)) if around else None
    assert Networks((network, str(network)) for network in known).of(str(address)) == wanted


def listed(tmp_path, text):
    path = tmp_path / "owners.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return owners(path)


def test_owners_are_read_as_spreadsheets_write_them(tmp_path):
    found = listed(
        tmp_path, "\ufeff" + HEAD.replace("owner,", "owner,note,") + '10.0.0.0/8,"Ops, night",x,critical\r\n'
    )
    assert found.of("10.1.2.3") == Owner("Ops, night", "critical")
    assert found.of("10.1.2.3").facts == {"owner": "Ops, night", "criticality": "critical"}
    assert found.of("192.0.2.1") is None
    assert found.of(str(ip_address("2001:db8::1"))) is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no column network"),
        ("network,owner\n", "no column criticality"),
        (HEAD + "10.0.0.0/8,a,high\n10.0.0.1/8,b,low\n", "line 3: 10.0.0.1/8 has host bits set"),
        (HEAD + "10.0.0.0/8,a,urgent\n", "line 2: 'urgent' is none of low, medium, high, critical"),
        (HEAD + "10.0.0.0/8\n", None),
        (HEAD.encode() + b"10.0.0.0/8,\xff,low\n", "invalid start byte"),
    ],
)
def test_a_wrong_list_is_named_with_its_line(tmp_path, text, what):
    if what is None:
        assert listed(tmp_path, text).of("10.0.0.1") == Owner("", "")
        return
    with pytest.raises(UsageError, match=what) as caught:
        listed(tmp_path, text)
    assert str(tmp_path) in str(caught.value)


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        owners(tmp_path / "none.csv")
