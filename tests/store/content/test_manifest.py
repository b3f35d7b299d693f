import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.bucket.memory import MemoryBucket
from kept.digest import digest
from kept.errors import Damaged, InvalidPath
from kept.store.blobs.header import MOST
from kept.store.content import manifest as manifests_module
from kept.store.content import read_manifest as reading_module
from kept.store.content.manifest import Chunk, File, Manifest, manifest_key
from kept.store.content.read_manifest import decode_manifest, read_manifest
from kept.store.encoding import canonical
from tests.helpers import finish, start

numbers = st.integers(0, MOST // 2)


def decode(data, key):
    return decode_manifest(data, key, MemoryBucket())


digests = st.integers(0, 30).map(lambda n: digest(bytes([n])))


@st.composite
def manifests(draw):
    paths = draw(
        st.lists(st.integers(0, 99).map(lambda n: f"d{n % 3}/f{n}"), unique=True, max_size=5)
    )
    files = []
    for path in sorted(paths):
        packed = st.builds(Chunk, digests, numbers, digests, numbers)
        own = digests.map(lambda name: Chunk(name, 5, name))
        chunks = draw(st.lists(packed | own, max_size=4))
        chunks = tuple(c if c.blob != c.digest else Chunk(c.digest, c.size, c.blob) for c in chunks)
        files.append(File(path, sum(chunk.size for chunk in chunks), chunks))
    return Manifest(tuple(files))


@given(manifests())
def test_what_is_encoded_comes_back(manifest):
    assert decode(manifest.encode(), "k") == manifest
    assert manifest.size == sum(chunk.size for chunk in manifest.chunks())
    assert json.loads(manifest.encode()).keys() == {"blobs", "files"}


@given(manifests(), digests, st.integers(0, 9))
def test_the_content_digest_does_not_depend_on_where_chunks_lie(manifest, blob, offset):
    moved = Manifest(tuple(
        File(f.path, f.size, tuple(Chunk(c.digest, c.size, blob, offset) for c in f.chunks))
        for f in manifest.files
    ))  # fmt: skip
    assert moved.digest == manifest.digest


def test_the_content_digest_depends_on_everything_else():
    a, b = digest(b"a"), digest(b"b")
    chunk = Chunk(a, 1, a)
    variants = [
        (),
        (File("f", 0, ()),),
        (File("f", 1, (chunk,)),),
        (File("g", 1, (chunk,)),),
        (File("f", 1, (Chunk(b, 1, b),)),),
        (File("f", 2, (Chunk(a, 2, a),)),),
        (File("f", 2, (chunk, chunk)),),
        (File("f", 1, (chunk,)), File("g", 1, (chunk,))),
    ]
    assert len({Manifest(files).digest for files in variants}) == len(variants)


A, B = digest(b"a"), digest(b"b")


def described(**changes):
    file = {"path": "f", "size": 3, "chunks": [[A, 1], [B, 2, 0, 7]]} | changes
    return {"blobs": [A], "files": [file]}


def test_the_form_that_the_next_test_breaks_is_good():
    manifest = decode(canonical(described()), "k")
    assert manifest.files[0].chunks == (Chunk(A, 1, A), Chunk(B, 2, A, 7))


FILES = described()["files"]
NO_MANIFESTS = [
    [], None, 3, "text", {}, {"blobs": [A]}, {"files": []},
    *({"blobs": [A], "files": files} for files in (3, None, [3], [{}], [[]])),
    *({"blobs": blobs, "files": FILES} for blobs in (5, [], ["short"], [5], None)),
]  # fmt: skip
BAD_FILES = [
    *({"path": path} for path in ("../f", "/f", "", "a\\b", None, 3)),
    *({"size": size} for size in (4, -3, "3", None, 3.0)),
    {"size": 1, "chunks": [[A, True]]},
    {"size": True, "chunks": [[A, 1]]},
    *({"chunks": chunks} for chunks in (None, [A], [[]], [[A]], {"a": 1})),
    *({"chunks": [[name, 3]]} for name in (A.upper(), A[:-1], A + "0", 5, None)),
    *({"chunks": [[A, 3, *place]]} for place in (
        [0], [1, 0], [-1, 0], [0, -1], ["0", 0], [0, 0, 0], [0, None], [None, 0], [False, 0],
    )),
    {"chunks": [[A, 4], [B, -1]]},
    {"chunks": [[A, 1.0], [B, 2]]},
    *({"chunks": chunks} for chunks in ("ab", {"0": [A, 3]}, [{"0": A, "1": 3}], [A + "3"])),
    {"size": MOST + 1, "chunks": [[A, MOST + 1]]},
    *({"size": 1, "chunks": [[A, 1, 0, offset]]} for offset in (MOST, 2**63, 10**40)),
    {"size": 10**40, "chunks": [[A, 10**40]]},
    *({"path": path} for path in ("f\n", "x" * 2000, {"f": 1}, ["f"], True)),
]  # fmt: skip
NO_MANIFESTS += [{"blobs": [A], "files": [[[["deep"] * 99] * 99] * 99]}, {"blobs": A, "files": []}]
COLLIDING = [
    {"blobs": [], "files": [{"path": path, "size": 0, "chunks": []} for path in paths]}
    for paths in (("f", "F"), ("d", "d/f"), ("f", "f"), ("b", "a"), ("a-b", "a/b", "a"))
]


@pytest.mark.parametrize(
    "value", [*NO_MANIFESTS, *(described(**bad) for bad in BAD_FILES), *COLLIDING]
)
def test_every_malformed_form_is_damaged(value):
    with pytest.raises(Damaged, match=r"manifests/x\.json"):
        decode(canonical(value), "manifests/x.json")


NOT_JSON = [
    b"", b"{", b'{"blobs":[', b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"9" * 5000,
    b'{"blobs":[],"files":[NaN]}',
    b'{"blobs":[],"files":[{"chunks":[],"path":"\\ud800","size":0}]}',
    b'{"blobs":[],"files":[]}}', b"\x00" * 50,
]  # fmt: skip


@pytest.mark.parametrize("data", NOT_JSON, ids=range(len(NOT_JSON)))
def test_bytes_that_are_no_json_are_damaged(data):
    with pytest.raises(Damaged, match=r"manifests/x\.json"):
        decode(data, "manifests/x.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([A, B]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
)


@given(json_values, st.randoms(use_true_random=False))
def test_a_value_of_another_kind_anywhere_is_damaged_or_harmless(value, chance):
    """What is read nevertheless has the right types, and can be stored and read again."""
    whole = described()
    place, key = whole, None
    while isinstance(place, (dict, list)) and place and chance.random() < 0.8:
        inside, key = (
            place,
            chance.choice([*place] if isinstance(place, dict) else range(len(place))),
        )
        place = inside[key]
    if key is not None:
        inside[key] = value
    try:
        found = decode(json.dumps(whole).encode(), "k")
    except Damaged:
        return
    assert decode(found.encode(), "k") == found
    assert all(type(c.size) is int and 0 <= c.offset + c.size <= MOST for c in found.chunks())


def test_a_message_does_not_repeat_what_a_manifest_holds():
    for bad in ({"path": "x" * 10**6}, {"chunks": ["y" * 10**6]}, {"size": [0] * 10**6}):
        with pytest.raises(Damaged) as caught:
            decode(canonical(described(**bad)), "k")
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("c", '<>"|?*\x7f\x9b\u202e\u200d\u2028')
def test_a_stored_path_may_have_what_new_ones_must_not(c):
    data = canonical(described(path=f"a{c}b"))
    assert decode(data, "k").files[0].path == f"a{c}b"
    assert decode(data, "k").encode() == data


def test_more_files_than_readers_take_are_not_stored(monkeypatch):
    many = Manifest(tuple(File(f"{n:05d}", 0, ()) for n in range(2000)))
    assert decode(many.encode(), "k") == many
    monkeypatch.setattr(manifests_module, "MOST_MEMORY", 500_000)
    with pytest.raises(InvalidPath, match="Received: 2000 files"):
        many.encode()
    monkeypatch.setattr(manifests_module, "MOST_MEMORY", 10**9)
    monkeypatch.setattr(manifests_module, "MOST_VALUE", 50_000)
    with pytest.raises(InvalidPath, match="Received: 2000 files"):
        many.encode()


def test_a_manifest_of_more_than_the_limit_is_not_read(monkeypatch):
    bucket, read = MemoryBucket(), []
    data = b" " * 2000 + canonical(described())
    record = SimpleNamespace(manifest=digest(data))
    bucket.put(manifest_key(record.manifest), [data])
    monkeypatch.setattr(reading_module, "MOST_VALUE", 1000)
    get = MemoryBucket.get
    monkeypatch.setattr(MemoryBucket, "get", lambda *args: read.append(args[3]) or get(*args))
    with pytest.raises(Damaged, match="at most 1000 bytes"):
        read_manifest(bucket, record)
    assert read == [1001, 1001]  # what looks damaged is read once more


# Forms that are small and would need gigabytes, each repeated up to 64 MiB.
BOMBS = {
    "lists": '{"blobs":[],"files":[%s[]]}', "objects": '{"blobs":[],"files":[%s[]]}',
    "texts": '{"blobs":[%s""],"files":[]}', "numbers": '{"blobs":[],"files":[],"x":[%s0]}',
    "emoji": '{"blobs":[],"files":[],"x":["%s"]}', "files": '{"blobs":[],"files":[%s[]]}',
    "chunks": '{"blobs":[],"files":[{"chunks":[%s[]],"path":"f","size":0}]}',
}  # fmt: skip
PIECES = {
    "lists": "[],", "objects": '{"a":0},', "texts": '"ab",', "numbers": "999,", "emoji": "😀",
    "files": '{"chunks":[],"path":"a","size":0},', "chunks": f'["{A}",0],',
}  # fmt: skip
LIMITED = """
import resource, sys
from kept.bucket.memory import MemoryBucket
from kept.errors import Damaged
from kept.store.content import manifest
from kept.store.content.read_manifest import decode_manifest
resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
form, piece, share = sys.argv[1:]
most = manifest.MOST_MEMORY // manifest.memory_of(piece.encode())
count = min(int(float(share) * most), (manifest.MOST_VALUE - 200) // len(piece.encode()))
data = (form % (piece * count)).encode()
try:
    decode_manifest(data, "manifests/x.json", MemoryBucket())
    print("read")
except Damaged as error:
    print("damaged", len(str(error)))
"""


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("share", [0.1, pytest.param(0.99, marks=pytest.mark.integration), 1.01])
def test_no_manifest_makes_a_reader_take_half_a_gigabyte(bomb, share):
    [line] = finish(start(LIMITED, BOMBS[bomb], PIECES[bomb], share))
    assert line.startswith("damaged") or bomb in ("numbers", "emoji")
