"""Voilà with the board as its only page."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from tornado.web import HTTPError
from traitlets import default
from traitlets.config import Config
from voila.app import Voila
from voila.tornado.handler import TornadoVoilaHandler
from voila.utils import create_include_assets_functions

from tasktools.board.health import HEALTH, HealthHandler
from tasktools.board.starting_page import Theme, starting_page, theme_of

_FOLDER: Final = Path(__file__).parent
_TEMPLATE: Final = "lab"  # Voilà's, of which the board uses the files
_EXTENSIONS: Final = (
    *("anywidget", "jupyterlab-plotly"),
    *("@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8"),
)
_END_SECONDS: Final = 10.0  # for kernels that only begin
_END_STEP_SECONDS: Final = 0.1
_IDLE_SECONDS: Final = 600
"""A kernel whose page has gone without a word, with its computer perhaps, ends after so long."""


class BoardApp(Voila):
    """Voilà for `server`, which has the listening socket: `start` starts the first kernel ahead of
    time.

    The user's configuration for other pages of Voilà is not read.
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
        """Return Voilà's handlers, with the handler of the board in place of the handler for any
        notebook."""
        *handlers, (_path, _handler, options) = super().init_handlers()
        health = (HEALTH, HealthHandler, {"is_ready": True})
        return [health, *handlers, (r"/", _BoardHandler, options)]

    def listen(self) -> None:
        """Do nothing: `server` listens already."""

    async def end(self) -> None:
        """End all kernels at once."""
        if self.connection_dir:  # it was started
            deadline = asyncio.get_running_loop().time() + _END_SECONDS
            while not await self._has_ended_kernels():
                if asyncio.get_running_loop().time() > deadline:
                    break  # it ends by itself: its parent is gone
                await asyncio.sleep(_END_STEP_SECONDS)
            shutil.rmtree(self.connection_dir, ignore_errors=True)

    async def _has_ended_kernels(self) -> bool:
        """Whether all kernels could be ended; a kernel that is still starting is not listed yet,
        and cannot be ended."""
        try:
            await self.kernel_manager.shutdown_all(now=True)
        except HTTPError:
            return False
        return True


class ThisPython(KernelSpecManager):
    """Offers a single kernel, that of this Python, even if another is installed under its name."""

    @default("kernel_dirs")
    def _no_folders(self) -> list[str]:
        return []

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the kernel, which is interrupted by a message before it is ended: of a signal a
        kernel that is still starting would print an error to the terminal."""
        spec = super().get_kernel_spec(kernel_name)
        spec.interrupt_mode = "message"
        return spec


class _BoardHandler(TornadoVoilaHandler):
    """The page, which says at once that it starts, and then shows the board of its kernel."""

    async def get(self) -> None:
        """Write the page, with a cookie that allows the page to end its kernel when the user
        leaves."""
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
        """Use the prepared kernel for any theme: a kernel does not depend on the theme."""
        return pool_size > 0


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
