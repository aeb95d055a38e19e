"""The redaction key: created once and completely, and always 32 bytes."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.redaction import Redactor
from storage.errors import ConfigurationError
from storage.ingest.io import keyed_hash
from storage.ingest.redaction import Redaction
from tui.cli import run_command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "refold"


def test_the_first_use_creates_a_key_that_only_the_user_reads(folder):
    key = keyed_hash.load_or_create_key()
    file = folder / "redaction.key"
    assert len(key) == 32
    assert bytes.fromhex(file.read_text()) == key == keyed_hash.load_or_create_key()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in folder.iterdir()] == ["redaction.key"]


START = """
import sys
from storage.ingest.io import keyed_hash
sys.stdin.readline()
print(keyed_hash.load_or_create_key().hex())
"""


def test_simultaneous_first_starts_use_one_key(folder):
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder.parent)}
    for _ in range(5):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for _ in range(4)
        ]
        keys = {process.communicate("\n")[0].strip() for process in processes}
        assert len(keys) == 1
        assert len(keys.pop()) == 64
        (folder / "redaction.key").unlink()


def test_simultaneous_threads_use_one_key(folder):
    for _ in range(50):
        with ThreadPoolExecutor(8) as pool:
            keys = {
                f.result() for f in [pool.submit(keyed_hash.load_or_create_key) for _ in range(8)]
            }
        assert len(keys) == 1
        (folder / "redaction.key").unlink()


def test_a_file_system_without_hard_links_gets_a_complete_key(
    folder, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    key = keyed_hash.load_or_create_key()
    assert keyed_hash.load_or_create_key() == key
    assert [p.name for p in folder.iterdir()] == ["redaction.key"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"00" * 31, "it holds something else"),
        (b"00" * 33, "it holds something else"),
        (b"zz" * 32, "it holds something else"),
        (b"00 " * 32, "it holds something else"),
        (b"00" * 10_000, "it holds something else"),
        (bytes(range(32)) + b"\xff", "it holds something else"),
    ],
)
def test_a_key_of_another_length_is_refused(folder, content, reason, capsys, tmp_path: Path):
    folder.mkdir()
    (folder / "redaction.key").write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"must be 64 hexadecimal digits.*{reason}"):
        keyed_hash.load_or_create_key()
    with pytest.raises(ConfigurationError):
        Redaction(["data.email"])
    with pytest.raises(ConfigurationError):
        Redactor().redact_value({"password": "hunter22"})
    assert Redactor().redact_value({"n": 1}) == {"n": 1}
    log = tmp_path / "log.jsonl"
    log.write_text('{"type": "T", "stream": "s", "data": {"email": "x"}}\n')
    assert run_command(["load", str(log), "--redact", "data.email"]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "log.refold").exists()
    assert (folder / "redaction.key").read_bytes() == content


def test_a_key_that_is_not_a_regular_file_is_refused_at_once(folder):
    folder.mkdir()
    os.mkfifo(folder / "redaction.key")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        keyed_hash.load_or_create_key()
    (folder / "redaction.key").unlink()
    (folder / "redaction.key").mkdir()
    with pytest.raises(ConfigurationError):
        keyed_hash.load_or_create_key()


def test_a_full_disk_is_reported_and_leaves_no_key(folder, monkeypatch: pytest.MonkeyPatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="can't be created: No space left"):
        keyed_hash.load_or_create_key()
    assert [*folder.iterdir()] == []
