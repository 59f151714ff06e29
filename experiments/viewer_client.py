"""A browser that draws nothing: speaks the protocol of the 3D viewer's server, to measure and test it.

Used by experiments/benchmark_viewer.py and by the tests.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
import numpy as np
import viser
import zstandard
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

PATIENCE = 90  # seconds until it gives up waiting for something to appear


class BareBrowser:
    """One connection to a viewer's server. Reads only when it is asked to, as slowly as a test likes."""

    def __init__(self, port: int):
        # No reading ahead, so that the server feels a browser that does not read.
        self.socket = connect(
            f"ws://localhost:{port}",
            subprotocols=[f"viser-v{viser.__version__}"],
            max_size=None,
            max_queue=1,
            compression=None,
            open_timeout=PATIENCE,
            close_timeout=0.2,  # what has not been read stands before the server's goodbye
            proxy=None,
        )
        self.names: dict[str, str] = {}  # label of a control: its id
        self.nodes: dict[str, dict] = {}  # name of a scene node: its properties
        self.page: dict[str, dict] = {}  # id of a control: its properties
        self.scenes = 0  # how many times points or a relief came
        self.files: dict[str, bytes] = {}  # what was downloaded, by name
        self.theme: dict = {}
        self.notes: list[str] = []  # notifications
        self._transfers: dict[str, tuple[str, list[bytes]]] = {}
        self.send(
            "ViewerCameraMessage",
            wxyz=(1.0, 0.0, 0.0, 0.0),
            position=(0.0, 0.0, 3.0),
            fov=1.0,
            near=0.01,
            far=100.0,
            image_height=600,
            image_width=800,
            look_at=(0.0, 0.0, 0.0),
            up_direction=(0.0, 1.0, 0.0),
        )

    def send(self, kind: str, **fields: object) -> None:
        self.socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    def set(self, label: str, value: object) -> None:
        """Moves a control."""
        self.send("GuiUpdateMessage", uuid=self.names[label], updates={"value": value})

    def click(self, label: str) -> None:
        self.set(label, True)

    def move_to(self, label: str, value: object, what: str) -> None:
        """Moves a control and waits for another scene."""
        before = self.scenes
        self.set(label, value)
        self.wait(lambda: self.scenes > before, what)

    def read(self, seconds: float = 1.0) -> bool:
        """Takes one window of messages; False if none came in time."""
        try:
            raw = self.socket.recv(timeout=seconds)
        except TimeoutError:
            return False
        size, packed = (int.from_bytes(raw[start : start + 8], "little") for start in (0, 8))
        inner = zstandard.ZstdDecompressor().decompress(raw[16 : 16 + packed], max_output_size=size)
        content = msgspec.msgpack.decode(inner)
        buffers, start = [], 16 + packed
        for length in content["binaryBufferLengths"]:
            start += -start % 8
            buffers.append(raw[start : start + length])
            start += length
        before = self.scenes
        for message in content["messages"]:
            self._take(message, buffers)
        self.scenes = min(self.scenes, before + 1)  # points and colours are two messages of one scene
        return True

    def _take(self, message: dict, buffers: list[bytes]) -> None:
        kind = message["type"]
        if kind == "SceneNodeUpdateMessage":
            self.nodes.get(message["name"], {}).update(unpack(message["updates"], buffers))
            self.scenes += bool({"points", "colors"} & set(message["updates"]))  # only what changes is sent
        elif kind == "RemoveSceneNodeMessage":
            self.nodes.pop(message["name"], None)
        elif kind == "GuiUpdateMessage":
            self.page.setdefault(message["uuid"], {}).update(message["updates"])
        elif kind in ("PointCloudMessage", "GlbMessage", "CameraFrustumMessage"):
            self.nodes[message["name"]] = {"type": kind, **unpack(message["props"], buffers)}
            self.scenes += kind != "CameraFrustumMessage"
        elif kind == "LocalStorageGetItemRequestMessage":  # how the server asks whether all that came before was read
            answer = {"value": None, "error": None, "request_uuid": message["request_uuid"]}
            self.send("LocalStorageGetItemResponseMessage", **answer)
        elif kind == "ThemeConfigurationMessage":
            self.theme = message
        elif kind == "NotificationShowMessage":
            self.notes.append(f"{message['props']['title']}: {message['props']['body']}")
        elif kind == "FileTransferStartDownload":
            self._transfers[message["transfer_uuid"]] = (message["filename"], [])
        elif kind == "FileTransferPart":
            name, parts = self._transfers[message["transfer_uuid"]]
            parts.append(bytes(unpack(message["content"], buffers)))
            self.files[name] = b"".join(parts)
        elif kind.startswith("Gui") and "props" in message and "uuid" in message:
            self.page[message["uuid"]] = {"type": kind, "value": message.get("value"), **message["props"]}
            if message["props"].get("label"):
                self.names.setdefault(message["props"]["label"], message["uuid"])

    def value(self, label: str) -> object:
        return self.page[self.names[label]].get("value")

    def text(self) -> str:
        """All Markdown on the page."""
        return "\n".join(str(item.get("_markdown")) for item in self.page.values() if "_markdown" in item)

    def pictures(self) -> str:
        """The HTML of the pictures beside the scene."""
        return next(item["content"] for item in self.page.values() if item.get("type") == "GuiHtmlMessage")

    def reliefs(self) -> dict[str, dict]:
        return {name: node for name, node in self.nodes.items() if node["type"] == "GlbMessage"}

    def wait(self, condition: Callable[[], object], what: str) -> object:
        """Reads until the condition holds; returns what it returned."""
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, f"never seen: {what}"
            self.read(0.2)
        return found

    def close(self) -> None:
        with suppress(ConnectionClosed):
            self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


def unpack(value: object, buffers: list[bytes]) -> object:
    """Arrays stand behind the message; put them back into it."""
    if isinstance(value, dict):
        if "__binary_index" in value:
            data = buffers[value["__binary_index"]]
            return np.frombuffer(data, value["dtype"]) if "dtype" in value else data
        return {key: unpack(item, buffers) for key, item in value.items()}
    return [unpack(item, buffers) for item in value] if isinstance(value, list) else value
