"""A real nginx that speaks HTTP/2 over TLS: a provider's end of the wire, for tests and benches."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Sequence
from pathlib import Path

from tidings.services.certificate import self_signed
from tidings.services.process import LOOPBACK, Server, ServiceError, answers, free_port

_CONFIG = """\
daemon off;
master_process off;  # one process, so that no worker survives a kill
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/temp;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp;
    scgi_temp_path {folder}/temp;
    server {{
        listen {host}:{port} ssl http2;
        server_name localhost;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
{server}
    }}
}}
"""


class Nginx(Server):
    """nginx with one TLS server on a free loopback port; `server` goes into its server block.

        Nginx("location / { return 200; }")

    Raises ServiceError where nginx is missing, saying how to get it.
    """

    name = "nginx"

    def __init__(self, server: str, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.certificate = self_signed(self.folder, now=datetime.datetime.now(datetime.UTC))
        self._server = server

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"https://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Writes the configuration."""
        config = _CONFIG.format(
            folder=self.folder,
            host=LOOPBACK,
            port=self.port,
            certificate=self.certificate.certificate,
            key=self.certificate.key,
            server=self._server,
        )
        self._config.write_text(config)

    def command(self) -> Sequence[str]:
        """nginx, in the foreground, with a folder and a configuration of its own."""
        found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if found is None:
            raise ServiceError(
                "There is no `nginx` here: run `make system` as root, or install it "
                "(Debian: apt-get install nginx-light)."
            )
        return [found, "-p", str(self.folder), "-c", str(self._config), "-e", str(self.log)]

    def ready(self) -> bool:
        """Whether it accepts connections."""
        return answers(self.port)

    @property
    def _config(self) -> Path:
        return self.folder / "nginx.conf"
