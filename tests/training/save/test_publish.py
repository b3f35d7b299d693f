"""How a file appears under its final name."""

from __future__ import annotations

import errno
import os

import pytest

from kept.store.content.file_source import MemoryFile
from kept.training.keras_api.formats import KERAS, SAVED_MODEL
from kept.training.save import checkpoint_files
from kept.training.save.publish import publish, workspace_beside
from tests.helpers import start, tree, write

pytestmark = pytest.mark.any_framework


class TestPublish:
    def test_a_failure_leaves_nothing(self, tmp_path):
        def write():
            with workspace_beside(str(tmp_path / "new" / "m.keras"), KERAS) as written:
                with open(written, "w") as file:
                    file.write("half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write()
        assert list((tmp_path / "new").iterdir()) == []

    def test_a_success_leaves_the_file(self, tmp_path):
        with workspace_beside(str(tmp_path / "m.keras"), KERAS) as written:
            with open(written, "w") as file:
                file.write("whole")
            publish(written, written, str(tmp_path / "m.keras"))
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("m.keras", "whole")]

    def test_a_file_in_memory_is_written_first(self, tmp_path):
        (tmp_path / "m.keras").write_text("before")
        with workspace_beside(str(tmp_path / "m.keras"), KERAS) as place:
            publish(MemoryFile("m.keras", [b"wh", b"ole"]), place, str(tmp_path / "m.keras"))
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("m.keras", "whole")]

    @pytest.mark.parametrize("size", [5, 9 * 2**20])
    def test_a_disk_that_is_full_leaves_the_file_of_before(self, tmp_path, monkeypatch, size):
        def full(fd, *_):
            os.write(fd, b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        (tmp_path / "m.keras").write_text("before")
        file, path = MemoryFile("m.keras", [bytes(size)]), str(tmp_path / "m.keras")
        monkeypatch.setattr(os, "pwrite", full)
        monkeypatch.setattr(os, "writev", full)
        with workspace_beside(path, KERAS) as place:
            for _ in range(2):  # half a file is not taken for one that was written
                with pytest.raises(OSError, match="No space"):
                    publish(file, place, path)
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("m.keras", "before")]


HALF_A_SAVE = """
import sys
from kept.training.keras_api.formats import KERAS
from kept.training.save.publish import workspace_beside
with workspace_beside(sys.argv[1], KERAS) as place:
    open(place, "w").close()
    print(place, flush=True)
    sys.stdin.readline()
"""


class TestKilledSaves:
    def test_the_next_process_removes_what_a_killed_one_left(self, tmp_path):
        path = tmp_path / "new/m.keras"
        process = start(HALF_A_SAVE, path)
        workspace = os.path.dirname(process.line().strip())
        process.kill()
        process.wait()
        for place in [
            *(os.path.join(workspace, name) for name in os.listdir(workspace)),
            workspace,
        ]:
            os.utime(place, (0, 0))
        with workspace_beside(str(path), KERAS):
            assert not os.path.exists(workspace)


class TestFolders:
    def test_a_replaced_folder_comes_back_after_an_error(self, tmp_path, monkeypatch):
        """The second of the two renames fails."""
        for name in ("m", "w"):
            write(tmp_path / name / "saved_model.pb", name.encode())
        real, moved = os.rename, []

        def rename(source, target):
            moved.append(source)
            if len(moved) == 2:
                raise OSError(errno.EIO, "Input/output error", source)
            real(source, target)

        monkeypatch.setattr(os, "rename", rename)
        with pytest.raises(OSError, match="Input/output"):
            checkpoint_files.move(str(tmp_path / "w"), str(tmp_path / "m"))
        assert tree(tmp_path) == {"m/saved_model.pb": b"m", "w/saved_model.pb": b"w"}

    @pytest.mark.parametrize("failing", range(1, 7))
    def test_a_failure_in_a_folder_of_other_files_leaves_it_as_it_was(
        self, tmp_path, monkeypatch, failing
    ):
        write(tmp_path / "m/other.txt", b"mine")
        for name in ("m", "w"):
            for file in ("saved_model.pb", "variables/a"):
                write(tmp_path / name / file, name.encode())
        write(tmp_path / "w/variables/b", b"w")
        before = tree(tmp_path)
        real, moved = os.rename, []

        def rename(source, target):
            moved.append(source)
            if len(moved) == failing:
                raise OSError(errno.EIO, "Input/output error", source)
            real(source, target)

        monkeypatch.setattr(os, "rename", rename)
        if failing < 6:
            with pytest.raises(OSError, match="Input/output"):
                checkpoint_files.move(str(tmp_path / "w"), str(tmp_path / "m"))
            assert tree(tmp_path) == before
        else:
            checkpoint_files.move(str(tmp_path / "w"), str(tmp_path / "m"))
            found = {n: data for n, data in tree(tmp_path).items() if n.startswith("m/")}
            assert found == {
                "m/other.txt": b"mine", "m/saved_model.pb": b"w", "m/variables/a": b"w",
                "m/variables/b": b"w",
            }  # fmt: skip

    def test_a_folder_of_other_files_is_not_removed(self, tmp_path):
        write(tmp_path / "m/saved_model.pb", b"")
        write(tmp_path / "m/other.txt", b"mine")
        checkpoint_files.remove(str(tmp_path / "m"), SAVED_MODEL)
        assert sorted(tree(tmp_path)) == ["m/other.txt", "m/saved_model.pb"]

    def test_a_removed_folder_leaves_nothing(self, tmp_path):
        write(tmp_path / "m/saved_model.pb", b"")
        checkpoint_files.remove(str(tmp_path / "m"), SAVED_MODEL)
        assert os.listdir(tmp_path) == []
