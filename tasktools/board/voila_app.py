"""Voilà with the board as its only page."""

from __future__ import annotations

import ipaddress
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from jupyter_client.kernelspec import KernelSpecManager
from traitlets import default
from traitlets.config import Config
from voila.app import Voila
from voila.tornado.handler import TornadoVoilaHandler
from voila.utils import create_include_assets_functions

from tasktools.board.starting import Theme, starting_page, theme_of

_FOLDER: Final = Path(__file__).parent
_TEMPLATE: Final = "lab"  # Voilà's, of which the board uses the files
_EXTENSIONS: Final = (
    *("anywidget", "jupyterlab-plotly"),
    *("@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8"),
)
_IDLE_SECONDS: Final = 600
"""A kernel whose page has gone without a word, with its computer perhaps, ends after so long."""


class BoardApp(Voila):
    """Voilà for `server`, which listens for it: `start` begins to heat the first kernel.

    What a user has configured for other pages of Voilà is not read.
    """

    def __init__(self, address: str, port: int, theme: Theme) -> None:
        config = Config()
        config.VoilaConfiguration.template = _TEMPLATE
        config.VoilaConfiguration.theme = theme
        config.VoilaConfiguration.preheat_kernel = True
        config.VoilaConfiguration.extension_allowlist = list(_EXTENSIONS)
        config.VoilaConfiguration.kernel_spec_manager_class = ThisPython
        config.KernelManager.transport = "ipc"  # which no other user of this machine can reach
        config.MappingKernelManager.cull_idle_timeout = _IDLE_SECONDS
        config.MappingKernelManager.buffer_offline_messages = False
        super().__init__(
            config=config,
            config_file_paths=[],
            log_level=logging.ERROR,
            notebook_path=str(_FOLDER / "board.ipynb"),
            port=port,
            tornado_settings={
                # A page of the internet whose name is made to point to this machine is refused.
                "allow_remote_access": not _is_loopback(address),
            },
        )
        self.initialize(argv=[])

    def setup_template_dirs(self) -> None:
        """Find the template of the board before Voilà's."""
        super().setup_template_dirs()
        self.template_paths.insert(0, str(_FOLDER / "template"))

    def init_handlers(self) -> list[Any]:
        """Return Voilà's handlers, with the board's in place of the one for any notebook."""
        *handlers, (_path, _handler, options) = super().init_handlers()
        return [*handlers, (r"/", _BoardHandler, options)]

    def listen(self) -> None:
        """Leave that to `server`."""

    async def end(self) -> None:
        """End all kernels, at once: one that still begins would complain of it in the terminal."""
        if self.connection_dir:  # it was started
            await self.kernel_manager.shutdown_all(now=True)
            shutil.rmtree(self.connection_dir, ignore_errors=True)


class ThisPython(KernelSpecManager):
    """Knows one kernel, that of this Python, whatever else is installed under its name."""

    @default("kernel_dirs")
    def _no_folders(self) -> list[str]:
        return []


class _BoardHandler(TornadoVoilaHandler):
    """The page: at once that it starts, then what its kernel shows."""

    async def get(self) -> None:
        """Write the page; its cookie lets it end its kernel when it is left."""
        _ = self.xsrf_token
        await super().get()

    async def get_generator(self, path: str | None = None) -> AsyncIterator[str]:
        """Yield the parts of the page."""
        self.set_header("Cache-Control", "no-store")
        named = self.get_query_argument("theme", None)
        theme = theme_of(named, self.voila_configuration.theme)
        yield starting_page(theme)
        assets = create_include_assets_functions(_TEMPLATE, self.base_url)
        yield assets["include_css"](f"static/theme-{theme}.css")
        async for part in super().get_generator(path):
            yield part

    def should_use_rendered_notebook(self, _data: Any, pool_size: int, *_options: Any) -> bool:
        """Use the kernel that is ready for any theme: the kernel does not know it."""
        return pool_size > 0


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
