"""Published test vectors: RFC 6962, RFC 8785, RFC 8032, C2SP, and the tiny archive."""

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from forwarder.keys.file import FileKey
from forwarder.seal import canonical, merkle, tiles
from forwarder.seal.note import Checkpoint, NoteError, Verifier, open_checkpoint, open_note

# Certificate Transparency's reference test data (RFC 6962 trees over these eight leaves).
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_roots_of_the_certificate_transparency_reference_tree():
    leaves = [merkle.leaf_hash(leaf) for leaf in CT_LEAVES]
    assert [merkle.root(leaves[: n + 1]).hex() for n in range(8)] == CT_ROOTS
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.integers(1, 70), st.data())
def test_an_inclusion_path_leads_to_the_root_and_no_other_leaf_does(size, data):
    leaves = [merkle.leaf_hash(bytes([n])) for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion_path(leaves, index)
    assert merkle.root_from_path(leaves[index], index, size, path) == merkle.root(leaves)
    assert merkle.root_from_path(merkle.leaf_hash(b"x"), index, size, path) != merkle.root(leaves)
    assert merkle.root_from_path(leaves[index], index, size, [*path, b""]) is None


def test_no_path_for_a_leaf_that_is_not_there():
    with pytest.raises(IndexError):
        merkle.inclusion_path([b""], 1)
    assert merkle.root_from_path(b"", 1, 1, []) is None
    assert merkle.root_from_path(b"", 0, 2, []) is None


@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [  # RFC 8032, 7.1, tests 1 to 3
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ],
)
def test_signatures_of_rfc_8032(seed, public, message, signature):
    key = FileKey.from_seed(bytes.fromhex(seed), "k")
    assert key.verifier.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert key.verifier.holds(bytes.fromhex(signature), bytes.fromhex(message))
    assert not key.verifier.holds(bytes.fromhex(signature), b"other")


def test_the_tiny_archive(key):
    assert str(key.verifier) == "example.com/nmap/scanner1+29f45946+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    entries = [b'{"sequence":%d}' % n for n in range(3)]
    assert tiles.bundle(entries) == b"".join(b"\x00\x0e" + entry for entry in entries)
    note = Checkpoint("example.com/nmap/scanner1", 3, merkle.root([merkle.leaf_hash(e) for e in entries])).sign(key)
    assert note.decode() == (
        "example.com/nmap/scanner1\n3\nTC4+44zpHNcVUepxWXekqeGjrg+yd7H48/5V+QB6Kn0=\n\n"
        "\N{EM DASH} example.com/nmap/scanner1 KfRZRqckjUb3cNUQFi++CO8HI/73Qk/rZr62vrNIIWpcM/VJshMCP2XYw/Piq2pwUb9DMU1"
        "pgnHDpYd/DVDfx0i0gAA=\n"
    )
    assert open_checkpoint(note, key.verifier).size == 3


def test_the_verifier_key_of_the_c2sp_signed_note_specification_style():
    """The key that golang.org/x/mod/sumdb/note documents."""
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    verifier = Verifier.parse(text)
    note = (
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
        "\N{EM DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert open_note(note.encode(), verifier).startswith(b"If you think")
    with pytest.raises(NoteError, match="does not hold"):
        open_note(note.replace("answer", "Answer").encode(), verifier)


@pytest.mark.parametrize(
    ("size", "paths"),
    [
        (1, ["tile/0/000.p/1"]),
        (255, ["tile/0/000.p/255"]),
        (256, ["tile/0/000", "tile/1/000.p/1"]),
        (257, ["tile/0/001.p/1"]),
        (65536, ["tile/0/255", "tile/1/000", "tile/2/000.p/1"]),
        (1234067 * 256 + 5, ["tile/0/x001/x234/067.p/5"]),
    ],
)
def test_tiles_that_a_size_brings(size, paths):
    assert [tiles.path(*tile) for tile in tiles.right_edge(size)] == paths


@pytest.mark.parametrize(
    "bad", ["", "x", "n+00000000+AQ==", "n+zz+!!", "+29f45946+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"]
)
def test_what_is_no_verifier_key(bad):
    with pytest.raises(NoteError):
        Verifier.parse(bad)


def test_a_verifier_key_with_another_id_is_refused(key):
    with pytest.raises(NoteError, match="id is 29f45946"):
        Verifier.parse(str(key.verifier).replace("29f45946", "29f45947"))


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.replace(b"\n3\n", b"\n03\n"),
        lambda n: n[:-1],
        lambda n: n.replace(b"\n\n", b"\n"),
        lambda n: n.replace("\N{EM DASH}".encode(), b"-"),
        lambda n: n.replace(b" KfRZ", b" !!!!"),
        lambda n: n.replace(b"scanner1 KfRZ", b"scanner2 KfRZ"),
        lambda n: n + b"\xff\n",
        lambda n: b"",
    ],
)
def test_a_changed_note_does_not_open(key, change):
    note = Checkpoint(key.verifier.name, 3, merkle.EMPTY).sign(key)
    with pytest.raises(NoteError):
        open_checkpoint(change(note), key.verifier)


def test_a_signed_note_that_is_no_checkpoint(key):
    text = b"hello\nworld\n"
    from base64 import b64encode

    line = b64encode(key.verifier.key_id + key.sign(text)).decode()
    note = text + f"\n\N{EM DASH} {key.verifier.name} {line}\n".encode()
    assert open_note(note, key.verifier) == text
    with pytest.raises(NoteError, match="not a checkpoint"):
        open_checkpoint(note, key.verifier)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.integers(-(10**9), 10**9).map(lambda n: n / 16).filter(lambda x: not x.is_integer())
    | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii", exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@given(json_values)
def test_canonical_json_is_rfc_8785s(value):
    assert canonical.encode(value) == rfc8785.dumps(value)


def test_the_string_escapes_of_rfc_8785():
    value = {"string": '€$\x0f\nA\'B"\\\\"/', "literals": [None, True, False], "del": "\x7f\u2028"}
    assert canonical.encode(value) == rfc8785.dumps(value)
    assert json.loads(canonical.encode(value)) == value
