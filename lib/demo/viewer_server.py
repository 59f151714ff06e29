"""The server of the 3D viewer: where it listens, and a session for each browser."""

import contextlib
import io
import socket
import threading
import warnings
import webbrowser

import viser

from ..errors import UserError
from .viewer_inputs import DepthService
from .viewer_scene import Settings
from .viewer_session import Session, Source

FIRST_PORT = 8080
PORTS_TRIED = 100
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class LocalServer(viser.ViserServer):
    """A server that cannot be published: viser's own would open a tunnel through another machine, if a page asks it to."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        return None


def free_port(host: str, first: int) -> int:
    """The first port from `first` on that nobody listens on. Raises UserError for a host that is not this machine's."""
    try:
        addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"--host {host}: no such address ({error})") from error
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        if all(is_free(family, address, port) for family, _, _, _, address in addresses):
            return port
    family, *_, address = addresses[0]
    with socket.socket(family) as probe:
        try:
            probe.bind((address[0], 0, *address[2:]))
        except OSError as error:
            raise UserError(f"--host {host}: this machine cannot listen there ({error.strerror})") from error
    raise UserError(f"--port {first}: this one and the next {PORTS_TRIED - 1} are taken or not allowed; choose another one")


def is_free(family: int, address: tuple, port: int) -> bool:
    """Whether one may listen on this port of an address. Addresses of a kind that this machine has not count as free."""
    try:
        with socket.socket(family) as probe:
            if hasattr(socket, "SO_REUSEADDR") and socket.AF_INET in (family, socket.AF_INET):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address[0], port, *address[2:]))
            probe.listen(1)
    except OSError as error:
        return family == socket.AF_INET6 and error.errno is not None and "not available" in str(error).lower()
    return True


class ViewerServer:
    """Serves the viewer until `stop`. Every browser gets a session of its own, which ends with it.

    url: what to open on this machine.
    """

    def __init__(self, service: DepthService, source: Source, defaults: Settings, *, host: str, port: int, title: str):
        self.service, self.source, self.defaults = service, source, defaults
        self.sessions: dict[int, Session] = {}
        self._guard = threading.Lock()
        port = free_port(host, port)
        # A browser may go while its scene is being made; what is sent to it then is lost, as it should be.
        warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")
        with contextlib.redirect_stdout(io.StringIO()):  # viser's own words about where it listens; ours are below
            self.server = LocalServer(host=host, port=port, label=title, verbose=False)
        self.server.gui.configure_theme(
            show_share_button=False, show_logo=False, dark_mode=True, control_width="medium", brand_color=(255, 160, 40)
        )
        self.server.scene.set_up_direction("+y")
        self.server.on_client_connect(self._arrive)
        self.server.on_client_disconnect(self._leave)
        self.port = self.server.get_port()
        shown = "localhost" if host in (*LOOPBACK, "0.0.0.0", "::", "") else host
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}"

    def _arrive(self, client: viser.ClientHandle) -> None:
        session = Session(client, self.service, self.source, self.defaults)
        with self._guard:
            self.sessions[client.client_id] = session
        if client.client_id not in self.server.get_clients():  # gone while the session was made
            self._leave(client)

    def _leave(self, client: viser.ClientHandle) -> None:
        with self._guard:
            session = self.sessions.pop(client.client_id, None)
        if session is not None:
            session.close()

    def stop(self) -> None:
        """Ends all sessions and stops listening."""
        with self._guard:
            sessions, self.sessions = list(self.sessions.values()), {}
        for session in sessions:
            session.close()
        with contextlib.redirect_stdout(io.StringIO()):
            self.server.stop()


def describe(url: str, host: str, asked_port: int, port: int) -> list[str]:
    """What to tell the person at the terminal: where to look, and who else can."""
    lines = [f"The viewer is at {url} (Ctrl-C ends it)"]
    if port != asked_port:
        lines.append(f"Port {asked_port} is taken; this is the next free one")
    if host not in LOOPBACK:
        lines.append(
            f"Note: --host {host} lets other machines in: whoever can reach port {port} sees the pictures and can use the model"
        )
    return lines


def serve(server: ViewerServer, *, launch: bool) -> None:
    """Runs until Ctrl-C. launch: open the page in the default browser."""
    try:
        if launch and not webbrowser.open(server.url):
            print("No browser could be opened here.")
        threading.Event().wait()
    finally:
        server.stop()
