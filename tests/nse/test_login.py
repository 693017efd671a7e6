"""Services that let anybody in."""

import pytest
from said import structured, written

ANONYMOUS, DEFAULT = {"anonymous": True}, {"default": True}


@pytest.mark.parametrize(
    ("name", "text", "login"),
    [
        ("ftp-anon", "Anonymous FTP login allowed (FTP code 230)\ndrwxr-xr-x 2 0 0 4096 pub", ANONYMOUS),
        ("ftp-anon", 'got code 331 "x".', {}),
        ("smb-enum-shares", "\n  IPC$\n    Anonymous access: READ <not a file share>\n", ANONYMOUS),
        ("smb-enum-shares", "\n  IPC$\n    Anonymous access: <none>\n", {}),
        ("http-default-accounts", "\n  [Example] at /console/\n    admin:admin\n", DEFAULT),
        ("http-default-accounts", "[Example] credentials found -> admin:admin Path:/console/", DEFAULT),
        ("http-default-accounts", "\n  [Example] at /\n    (no valid default credentials found)\n", {}),
        ("http-default-accounts", "ERROR: x", {}),
        ("mysql-empty-password", "\n  anonymous account has empty password\n", ANONYMOUS),
        ("mysql-empty-password", "\n  root account has empty password\n", DEFAULT),
        (
            "mysql-empty-password",
            "\n  anonymous account has empty password\n  root account has empty password\n",
            ANONYMOUS | DEFAULT,
        ),
        ("mysql-empty-password", "Host '192.0.2.1' is not allowed to connect to this MySQL server", {}),
        ("ms-sql-empty-password", "\n  [192.0.2.10\\PROD]\n    sa:<empty> => Login Success\n", DEFAULT),
        ("ms-sql-empty-password", "\n  [192.0.2.10\\PROD]\n    'sa' account password is not blank.\n", {}),
        (
            "mongodb-info",
            "\n  MongoDB Build info\n    ok = 1\n  Server status\n    connections\n      current = 1",
            ANONYMOUS,
        ),
        (
            "mongodb-info",
            "\n  MongoDB Build info\n    ok = 1\n  Server status\n    errmsg = not authorized on admin",
            {},
        ),
        ("mongodb-databases", "\n  databases\n    0\n      name = test\n  totalSize = 83886080", ANONYMOUS),
        ("mongodb-databases", "\n  errmsg = command listDatabases requires authentication\n  ok = 0", {}),
        ("redis-info", "\n  Version            7.0.11\n  Role               master", ANONYMOUS),
        ("redis-info", "\n  ERROR: Authentication required", {}),
        ("memcached-info", "\n  Process ID: 1\n  Authentication: no", ANONYMOUS),
        ("memcached-info", "\n  Process ID: 1\n  Authentication: not known", {}),
        ("memcached-info", "\n  Process ID: 1\n  Authentication: SASL", {}),
        ("vnc-info", "\n  Protocol version: 3.8\n  WARNING: Server does not require authentication", ANONYMOUS),
        ("vnc-info", "\n  Protocol version: 3.8\n  Security types: \n    VNC Authentication (2)", {}),
        ("x11-access", "X server access is granted", ANONYMOUS),
        ("smb-security-mode", "\n  account_used: guest", {}),
    ],
)
def test_texts(name, text, login):
    expected = login | {"script": [name]} if login else None
    assert written(name, text).get("login") == expected


@pytest.mark.parametrize(
    ("name", "inside", "login"),
    [
        (
            "http-default-accounts",
            (
                '<table key="Example"><elem key="path">/</elem><table key="credentials"><table>'
                '<elem key="username">admin</elem></table></table></table>'
            ),
            DEFAULT,
        ),
        ("http-default-accounts", '<table key="Example"><table key="credentials"/></table>', {}),
        ("smb-enum-shares", '<table key="IPC$"><elem key="Anonymous access">READ/WRITE</elem></table>', ANONYMOUS),
        ("smb-enum-shares", '<table key="IPC$"><elem key="Anonymous access">&lt;none&gt;</elem></table>', {}),
        ("redis-info", '<elem key="Version">7.0.11</elem>', ANONYMOUS),
        ("memcached-info", '<elem key="Authentication">no</elem>', ANONYMOUS),
        ("memcached-info", '<elem key="Authentication">SASL</elem>', {}),
        (
            "vnc-info",
            '<table key="Security types"><table><elem key="name">None</elem><elem key="type">1</elem></table></table>',
            ANONYMOUS,
        ),
        (
            "vnc-info",
            '<table key="Security types"><table><elem key="name">x</elem><elem key="type">2</elem></table></table>',
            {},
        ),
    ],
)
def test_structured_output(name, inside, login):
    expected = login | {"script": [name]} if login else None
    assert structured(name, inside).get("login") == expected
