"""Versions, ciphers and protocols of TLS servers."""

from said import both, structured, written


def cipher(name, strength, kex="rsa 2048"):
    strength = f'<elem key="strength">{strength}</elem>' if strength else ""
    return f'<table><elem key="name">{name}</elem><elem key="kex_info">{kex}</elem>{strength}</table>'


def test_grades_in_letters():
    inside = (
        '<table key="SSLv3"><table key="ciphers">'
        + cipher("TLS_RSA_WITH_RC4_128_SHA", "C")
        + cipher("TLS_RSA_WITH_AES_128_CBC_SHA", "A")
        + '</table><table key="compressors"><elem>NULL</elem></table><elem key="cipher preference">server</elem>'
        '<table key="warnings"><elem>Broken cipher RC4 is deprecated by RFC 7465</elem></table></table>'
        '<table key="TLSv1.2"><table key="ciphers">'
        + cipher("TLS_RSA_WITH_3DES_EDE_CBC_SHA", "C")
        + cipher("TLS_RSA_WITH_RC4_128_SHA", "C")
        + '</table><table key="warnings"><elem>Broken cipher RC4 is deprecated by RFC 7465</elem></table></table>'
        '<elem key="least strength">C</elem>'
    )
    text = (
        "\n  SSLv3: \n    ciphers: \n      TLS_RSA_WITH_RC4_128_SHA (rsa 2048) - C\n"
        "      TLS_RSA_WITH_AES_128_CBC_SHA (rsa 2048) - A\n    compressors: \n      NULL\n"
        "    cipher preference: server\n    warnings: \n      Broken cipher RC4 is deprecated by RFC 7465\n"
        "  TLSv1.2: \n    ciphers: \n      TLS_RSA_WITH_3DES_EDE_CBC_SHA (rsa 2048) - C\n"
        "      TLS_RSA_WITH_RC4_128_SHA (rsa 2048) - C\n"
        "    warnings: \n      Broken cipher RC4 is deprecated by RFC 7465\n  least strength: C"
    )
    assert both("ssl-enum-ciphers", inside, text) == {
        "tls": {
            "version": ["SSLv3", "TLSv1.2"],
            "weak_cipher": ["TLS_RSA_WITH_RC4_128_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA"],
            "warning": ["Broken cipher RC4 is deprecated by RFC 7465"],
            "least_strength": "C",
        }
    }


def test_grades_in_words():
    inside = (
        '<table key="TLSv1.0"><table key="ciphers">'
        + cipher("TLS_RSA_WITH_RC4_128_SHA", "weak", "")
        + cipher("TLS_RSA_WITH_DES_CBC_SHA", "unknown strength", "")
        + cipher("TLS_RSA_WITH_AES_128_CBC_SHA", "strong", "")
        + '</table></table><elem key="least strength">weak</elem>'
    )
    text = (
        "\n  SSLv3: No supported ciphers found\n  TLSv1.0: \n    ciphers: \n"
        "      TLS_RSA_WITH_RC4_128_SHA - weak\n      TLS_RSA_WITH_DES_CBC_SHA - unknown strength\n"
        "      TLS_RSA_WITH_AES_128_CBC_SHA - strong\n    compressors: \n      NULL\n  least strength: weak"
    )
    assert both("ssl-enum-ciphers", inside, text) == {
        "tls": {
            "version": ["TLSv1.0"],
            "weak_cipher": ["TLS_RSA_WITH_RC4_128_SHA", "TLS_RSA_WITH_DES_CBC_SHA"],
            "least_strength": "weak",
        }
    }


def test_no_grades():
    text = (
        "\n  SSLv3\n    Ciphers (3)\n      TLS_RSA_EXPORT_WITH_RC4_40_MD5\n      TLS_RSA_WITH_AES_128_CBC_SHA\n"
        "      TLS_DH_anon_WITH_AES_128_CBC_SHA\n    Compressors (1)\n      uncompressed"
    )
    assert written("ssl-enum-ciphers", text) == {
        "tls": {
            "version": ["SSLv3"],
            "weak_cipher": ["TLS_RSA_EXPORT_WITH_RC4_40_MD5", "TLS_DH_anon_WITH_AES_128_CBC_SHA"],
        }
    }


def test_a_version_without_ciphers_is_not_offered():
    assert structured("ssl-enum-ciphers", '<table key="TLSv1.1"><table key="ciphers"/></table>') == {}


def test_sslv2():
    inside = '<elem>SSLv2 supported</elem><table key="ciphers"><elem>SSL2_RC4_128_WITH_MD5</elem></table>'
    text = "\n  SSLv2 supported\n  ciphers: \n    SSL2_RC4_128_WITH_MD5"
    assert both("sslv2", inside, text) == {"tls": {"version": ["SSLv2"], "weak_cipher": ["SSL2_RC4_128_WITH_MD5"]}}
    none = '<elem>SSLv2 supported</elem><elem key="ciphers">none</elem>'
    assert both("sslv2", none, "\n  SSLv2 supported\n  ciphers: none") == {"tls": {"version": ["SSLv2"]}}
    assert written("sslv2", "") == {}


def test_alpn():
    assert both("tls-alpn", "<elem>h2</elem><elem>http/1.1</elem>", "\n  h2\n  http/1.1") == {
        "tls": {"alpn": ["h2", "http/1.1"]}
    }
