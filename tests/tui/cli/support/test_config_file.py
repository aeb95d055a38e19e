"""The `refold.toml` files near a workspace are read once for a command."""

from pathlib import Path

import pytest

from tui.cli.support.config_file import NearbyConfigs

ORDERS = '[projections.orders]\ncode = "orders.py"\n[gateway]\nown_time = false\n'
STOCK = '[projections.stock]\ncode = "stock.py"\n'


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a workspace beside a refold.toml; the current folder has another one."""
    for name, text in (("beside", ORDERS), ("current", STOCK)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "refold.toml").write_text(text)
    monkeypatch.chdir(tmp_path / "current")
    return tmp_path / "beside" / "log.refold"


def test_both_files_declare_projections_and_the_one_beside_comes_first(workspace: Path) -> None:
    configs = NearbyConfigs(workspace)
    for name, folder in (("orders", workspace.parent), ("stock", Path.cwd())):
        found = configs.find_declaring(name)
        assert found is not None
        assert found.path == folder.resolve() / "refold.toml"
    assert configs.find_declaring("missing") is None
    assert not configs.gateway_settings().own_time


def test_a_file_that_changes_during_a_command_is_not_read_again(workspace: Path) -> None:
    configs = NearbyConfigs(workspace)
    assert configs.find_declaring("orders") is not None
    (workspace.parent / "refold.toml").write_text("no TOML")
    assert configs.find_declaring("orders") is not None
    assert not configs.gateway_settings().own_time


def test_no_file_leaves_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    configs = NearbyConfigs(tmp_path / "log.refold")
    assert configs.find_declaring("orders") is None
    assert configs.gateway_settings().own_time
