"""Which files a folder gives: its own, and nothing that a link fetches from elsewhere."""

import os
import socket

import pytest

import kept
from kept.errors import InvalidPath
from kept.store.content.file_source import open_file
from kept.store.content.find_files import find_sources
from tests.helpers import finish, start, tree, write


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "secret", b"secret")
    write(tmp_path / "d/sub/f", b"mine")
    return tmp_path / "d"


def test_a_link_to_a_file_in_the_same_folder_is_followed(folder, tmp_path):
    (folder / "absolute").symlink_to(folder / "sub/f")
    (folder / "sub/relative").symlink_to("../sub/f")
    (folder / "twice").symlink_to("absolute")
    version = kept.open_store(tmp_path / "store").log_artifact("m", folder)
    got = tree(version.download(tmp_path / "out"))
    assert got == {f"d/{path}": b"mine" for path in ("absolute", "sub/relative", "twice", "sub/f")}


@pytest.mark.parametrize(
    "target", ["../../secret", "{}/secret", "../../next", "../sub/../../secret"]
)
def test_a_link_that_leads_out_is_refused(folder, tmp_path, target):
    target = target.format(tmp_path)
    (tmp_path / "next").symlink_to("secret")
    (folder / "next").symlink_to("../next")
    (folder / "sub/link").symlink_to(target)
    for link in (folder / "next", folder / "sub/link"):
        with pytest.raises(InvalidPath, match="leads out") as caught:
            find_sources(folder)
        assert repr(str(tmp_path / "secret")) in str(caught.value)
        assert "Pass that file itself" in str(caught.value)
        assert f"Received: {str(link)!r}, which leads to {os.readlink(link)!r}" in str(caught.value)
        link.unlink()
    assert [source.path for source in find_sources(folder)] == ["d/sub/f"]


def test_a_folder_with_a_similar_name_is_another_folder(folder, tmp_path):
    write(tmp_path / "d2/f", b"")
    (folder / "link").symlink_to("../d2/f")
    with pytest.raises(InvalidPath, match="leads out"):
        find_sources(folder)


@pytest.mark.parametrize("target", ["nowhere", "link", "sub/f/below"])
def test_a_link_to_nothing_is_refused(folder, target):
    (folder / "link").symlink_to(target)
    with pytest.raises(InvalidPath, match=rf"link to nothing.*leads to '{target}'"):
        find_sources(folder)


def test_a_link_to_a_folder_says_where_it_leads(folder, tmp_path):
    (folder / "link").symlink_to("sub")
    with pytest.raises(InvalidPath, match=r"link to a folder.*Received: .*, which leads to 'sub'"):
        find_sources(folder)


def test_a_path_that_is_given_may_be_a_link(folder, tmp_path):
    (tmp_path / "to_file").symlink_to("secret")
    (tmp_path / "to_folder").symlink_to("d")
    (folder / "inner").symlink_to("sub/f")
    found = find_sources([tmp_path / "to_file", tmp_path / "to_folder"])
    assert [s.path for s in found] == ["to_file", "to_folder/inner", "to_folder/sub/f"]


def a_pipe(path):
    os.mkfifo(path)


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))


def a_link_to_a_device(path):
    path.symlink_to("/dev/zero")


def a_link_to_a_pipe(path):
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


@pytest.mark.parametrize("make", [a_pipe, a_socket, a_link_to_a_device, a_link_to_a_pipe])
def test_what_is_no_file_is_refused_and_not_opened(folder, tmp_path, monkeypatch, make):
    """Opening a pipe would wait for ever."""
    monkeypatch.chdir(folder)
    make(folder / "odd")
    (tmp_path / "given").symlink_to("d/odd")
    opened = []
    monkeypatch.setattr(os, "open", lambda path, *_: opened.append(path))
    for given in (folder, folder / "odd", tmp_path / "given"):
        with pytest.raises(InvalidPath, match=r"no file|leads out|neither a file nor a folder"):
            find_sources(given)
    assert opened == []


def test_a_file_that_becomes_a_pipe_does_not_hang(folder):
    source = find_sources(folder)[0]
    os.unlink(source.file)
    os.mkfifo(source.file)
    with pytest.raises(InvalidPath, match="is no file"), open_file(source.file):
        pass


UNREADABLE = """
import os, sys
from kept.store.content.file_source import open_file
with open_file(sys.argv[1]) as file:
    os.close(file._fd)
    try:
        file.read(0, 4)
    except OSError as error:
        print(error.filename)
    os.open(sys.argv[1], os.O_RDONLY)
"""


def test_a_read_error_names_the_file(folder):
    assert finish(start(UNREADABLE, folder / "sub/f")) == [str(folder / "sub/f")]
