"""The contents of the wheel as pyproject.toml describes them; `make dist` builds it."""

from __future__ import annotations

import tomllib

from tests.jupyter import REPOSITORY


def test_what_is_shared_data_is_in_the_wheel_once() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["shared-data"]
    for folder in wheel["shared-data"]:
        assert (REPOSITORY / folder).is_dir()
        assert folder in wheel["exclude"]
