"""What Windows file servers say."""

import pytest
from said import both, structured, written


def elements(**members):
    return "".join(f'<elem key="{name}">{value}</elem>' for name, value in members.items())


def test_the_system_of_a_member_of_a_domain():
    inside = elements(
        os="Windows Server (R) 2008 Standard 6001 Service Pack 1",
        lanmanager="Windows Server (R) 2008 Standard 6.0",
        domain="CORP",
        server="FILES\\x00",
        fqdn="files.corp.example.com",
        domain_dns="corp.example.com",
        forest_dns="example.com",
        cpe="cpe:/o:microsoft:windows_2008::sp1",
    )
    text = (
        "\n  OS: Windows Server (R) 2008 Standard 6001 Service Pack 1 (Windows Server (R) 2008 Standard 6.0)"
        "\n  OS CPE: cpe:/o:microsoft:windows_2008::sp1\n  Computer name: files\n  NetBIOS computer name: FILES\\x00"
        "\n  Domain name: corp.example.com\n  Forest name: example.com\n  FQDN: files.corp.example.com"
        "\n  NetBIOS domain name: CORP\n  System time: 2026-03-02T10:12:00+01:00\n"
    )
    assert both("smb-os-discovery", inside, text) == {
        "smb": {
            "os": "Windows Server (R) 2008 Standard 6001 Service Pack 1",
            "domain": "corp.example.com",
            "name": "files.corp.example.com",
        }
    }


def test_the_system_of_a_workgroup():
    inside = elements(os="Unix", lanmanager="Samba 4.9.5-Debian", server="NAS\\x00", workgroup="WORKGROUP\\x00")
    text = "\n  OS: Unix (Samba 4.9.5-Debian)\n  NetBIOS computer name: NAS\\x00\n  Workgroup: WORKGROUP\\x00\n"
    assert both("smb-os-discovery", inside, text) == {"smb": {"os": "Unix", "domain": "WORKGROUP", "name": "NAS"}}


def test_the_system_in_the_words_of_nmap_5():
    text = (
        "\n  OS: Windows XP (Windows 2000 LAN Manager)\n  Name: EXAMPLE\\DESK\n  System time: 2010-01-01 00:00:00 UTC+1"
    )
    assert written("smb-os-discovery", text) == {"smb": {"os": "Windows XP", "domain": "EXAMPLE", "name": "DESK"}}


@pytest.mark.parametrize("text", ["OS: Unknown", "OS: ", "ERROR: x", "", "OS: )", "OS: (x)"])
def test_a_system_that_nobody_knows(text):
    assert written("smb-os-discovery", text).get("smb", {}).keys() <= {"os"}


@pytest.mark.parametrize(
    ("structure", "text", "signing"),
    [
        ("disabled", "disabled (dangerous, but default)", "disabled"),
        ("supported", "supported", "supported"),
        ("required", "required", "required"),
    ],
)
def test_signing_of_smb1(structure, text, signing):
    inside = elements(account_used="guest", authentication_level="user", message_signing=structure)
    text = f"\n  account_used: guest\n  authentication_level: user\n  message_signing: {text}"
    assert both("smb-security-mode", inside, text) == {"smb": {"signing": [signing], "account": "guest"}}


@pytest.mark.parametrize(
    ("text", "signing"),
    [
        ("Message signing not supported (dangerous!)", "disabled"),
        ("Message signing disabled (dangerous, but default)", "disabled"),
        ("Message signing supported", "supported"),
        ("Message signing required", "required"),
    ],
)
def test_signing_in_the_words_of_nmap_5(text, signing):
    text = f"\n  Account that was used for smb scripts: guest\n  User-level authentication\n  SMB Security: {text}\n"
    assert written("smb-security-mode", text) == {"smb": {"signing": [signing], "account": "guest"}}


@pytest.mark.parametrize(
    ("text", "signing"),
    [
        ("Message signing enabled and required", "required"),
        ("Message signing enabled but not required", "supported"),
        ("Message signing is disabled and not required!", "disabled"),
        ("Message signing is disabled!", "disabled"),
    ],
)
def test_signing_of_smb2(text, signing):
    inside = f'<table key="3.1.1"><elem>{text}</elem></table>'
    assert both("smb2-security-mode", inside, f"\n  3.1.1: \n    {text}") == {"smb": {"signing": [signing]}}


def test_dialects():
    inside = (
        '<table key="dialects"><elem>NT LM 0.12 (SMBv1) [dangerous, but default]</elem>'
        "<elem>2.0.2</elem><elem>3:1:1</elem></table>"
    )
    text = "\n  dialects: \n    NT LM 0.12 (SMBv1) [dangerous, but default]\n    2.0.2\n    3:1:1"
    assert both("smb-protocols", inside, text) == {"smb": {"dialect": ["NT LM 0.12", "2.0.2", "3.1.1"], "v1": True}}
    assert structured("smb-protocols", '<table key="dialects"><elem>3.1.1</elem></table>')["smb"]["v1"] is False
    assert written("smb-protocols", "No dialects accepted. Something may be blocking the responses") == {}


def test_netbios():
    text = "NetBIOS name: FILES, NetBIOS user: &lt;unknown&gt;, NetBIOS MAC: 00:00:5e:00:53:01 (x)\nNames:\n  FILES<00>"
    assert both("nbstat", elements(server_name="FILES"), text) == {"netbios": {"name": "FILES"}}
    assert written("nbstat", "NetBIOS name: <unknown>, x") == {}
