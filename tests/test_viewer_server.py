"""The 3D viewer's server with browsers that draw nothing: controls, several browsers, what is left when one goes."""

import base64
import gc
import html
import io
import json
import re
import socket
import sys
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest
import trimesh

from experiments.viewer_client import BareBrowser
from lib.demo.pictures import find_pictures
from lib.demo.viewer_controls import SAVE_FORMATS, SourceFacts
from lib.demo.viewer_help import FORMULA, GROUPS, HINTS
from lib.demo.viewer_inputs import names_of
from lib.demo.viewer_scene import POINTS, Settings
from lib.demo.viewer_server import describe, free_port
from lib.demo.viewer_session import Source
from lib.errors import UserError

from .conftest import make_picture
from .image_script import write_picture
from .viewer_stub import FIRST_PORT, METRIC, StubModel, depth_of, depths, first_scene, wait_for


def test_every_control_is_there_and_explained(serve):
    with BareBrowser(serve(pictures=2).port) as browser:
        first_scene(browser)
        assert set(browser.names) == set(HINTS) - set(GROUPS["Source"]) | {"Picture"}
        shown = browser.text()
        for name, hint in HINTS.items():
            assert f"*{name}*: {hint}" in shown
        assert FORMULA in shown
        assert {name for names in GROUPS.values() for name in names} == set(HINTS)


def test_controls_change_the_scene(serve):
    with BareBrowser(serve().port) as browser:
        first_scene(browser)
        assert len(depths(browser)) == 30 * 40
        assert depths(browser).min() == pytest.approx(1) and depths(browser).max() == pytest.approx(10, rel=0.1)
        browser.move_to("Near", 2.0, "another near")
        assert depths(browser).min() == pytest.approx(2)
        browser.move_to("Far", 1.0, "far before near")
        assert depths(browser).max() < 2.1  # far stays beyond near
        browser.move_to("Decimation", 2, "fewer points")
        assert len(depths(browser)) == 16 * 21
        size = browser.nodes["/cloud"]["point_size"]
        browser.move_to("Point size", 3.0, "larger points")
        assert browser.nodes["/cloud"]["point_size"] == pytest.approx(2 * size)
        colours = browser.nodes["/cloud"]["colors"]
        browser.move_to("Colours", "normals", "other colours")
        assert not np.array_equal(browser.nodes["/cloud"]["colors"], colours)
        browser.move_to("Edge threshold", 0.005, "edges")
        assert len(depths(browser)) < 16 * 21
        browser.set("Camera", False)
        browser.wait(lambda: "/camera" not in browser.nodes, "no camera")
        browser.set("Shape", "textured mesh")
        browser.wait(lambda: browser.reliefs() and "/cloud" not in browser.nodes, "a relief instead")
        browser.click("Reset")
        browser.wait(lambda: "/cloud" in browser.nodes and len(depths(browser)) == 30 * 40, "the beginning")
        assert browser.value("Near") == 1.0 and browser.value("Shape") == POINTS and "/camera" in browser.nodes


def test_field_of_view_and_focal_length_go_together(serve):
    with BareBrowser(serve().port) as browser:
        first_scene(browser)
        width = np.ptp(browser.nodes["/cloud"]["points"].reshape(-1, 3)[:, 0])
        assert browser.value("Field of view") == 60.0
        browser.move_to("Field of view", 90.0, "a wider view")
        browser.wait(lambda: browser.value("Focal length") == pytest.approx(20.0), "its focal length")
        wider = np.ptp(browser.nodes["/cloud"]["points"].reshape(-1, 3)[:, 0])
        assert wider / width == pytest.approx(np.tan(np.pi / 4) / np.tan(np.pi / 6), rel=1e-3)
        browser.move_to("Focal length", 40.0, "a longer focal length")
        browser.wait(lambda: browser.value("Field of view") == pytest.approx(53.1), "its view")


def test_the_size_of_the_networks_input(serve):
    model = StubModel()
    with BareBrowser(serve(model=model).port) as browser:
        first_scene(browser)
        assert model.sides == [None]
        for side in (280, 294, 308, 322):  # a slider on its way
            browser.set("Model input", side)
        browser.wait(lambda: "network 322" in browser.text(), "another prediction")
        assert model.sides == [None, 322]


def test_metric_models_keep_their_metres(serve):
    with BareBrowser(serve(model=StubModel(METRIC), settings=Settings(shape=POINTS, edge=1.0)).port) as browser:
        first_scene(browser)
        assert "metric depth" in browser.text() and FORMULA not in browser.text()
        truth = depth_of(make_picture(30, 40), METRIC).depth
        np.testing.assert_allclose(np.sort(depths(browser)), np.sort(truth.ravel()), rtol=1e-5)


def test_the_pictures_come_with_their_values(serve):
    with BareBrowser(serve().port) as browser:
        first_scene(browser)
        browser.wait(lambda: browser.pictures(), "pictures")
        info = json.loads(html.unescape(re.search(r'data-info="(.*?)"', browser.pictures()).group(1)))
        assert (info["rows"], info["columns"], info["unit"]) == (30, 40, "(inverse depth)")
        codes = np.frombuffer(base64.b64decode(info["values"]), "<u2").reshape(30, 40)
        inverse = np.frombuffer(base64.b64decode(info["inverse"]), "<u2").reshape(30, 40)
        values = codes * info["scale"] + info["offset"]
        np.testing.assert_allclose(values, depth_of(make_picture(30, 40)).depth, atol=1e-4)
        metres = 1 / (inverse * info["inverseScale"] + info["inverseOffset"])
        assert metres.min() == pytest.approx(1) and metres[0, 0] == pytest.approx(10)


def test_browsers_do_not_share_controls(serve):
    server = serve(pictures=2)
    with BareBrowser(server.port) as one, BareBrowser(server.port) as other:
        first_scene(one)
        first_scene(other)
        scenes, picture = other.scenes, other.pictures()
        one.move_to("Near", 4.0, "another near")
        one.move_to("Picture", "1.png", "another picture")
        while other.read(0.5):
            pass
        assert other.scenes == scenes and other.value("Near") == 1.0 and other.pictures() == picture
        assert depths(other).min() == pytest.approx(1)
        assert server.service.model.count == 2  # each picture once


def test_a_browser_that_goes_leaves_nothing(serve):
    server = serve(pictures=2)
    with BareBrowser(server.port) as browser:  # starts the threads of viser itself
        first_scene(browser)
    wait_for(lambda: not server.sessions, "the end of a session")
    sessions = []
    for _ in range(3):
        with BareBrowser(server.port) as browser:
            first_scene(browser)
            sessions += [weakref.ref(session) for session in server.sessions.values()]
        wait_for(lambda: not server.sessions, "the end of a session")
    assert len(sessions) == 3

    def are_gone() -> bool:
        gc.collect()
        return all(session() is None for session in sessions)

    wait_for(are_gone, "sessions being freed")
    assert not [thread for thread in threading.enumerate() if "one browser" in thread.name]


def test_a_thousand_changes_leave_memory_flat(serve):
    server = serve(settings=Settings(edge=1.0))  # reliefs, which are the larger ones
    with BareBrowser(server.port) as browser:
        first_scene(browser)
        (session,) = server.sessions.values()
        buffer = session.client._websock_connection.get_message_buffer()
        stop = threading.Event()

        def read_on() -> None:
            while not stop.is_set():
                browser.read(0.2)

        reader = threading.Thread(target=read_on)
        reader.start()
        try:

            def change(count: int) -> None:
                for number in range(count):
                    session.controls.handles["Near"].value = 1 + number % 90 / 100
                    session.controls.handles["Edge threshold"].value = 0.5 + number % 7 / 100
                    time.sleep(0.001)
                updates = session.updates
                wait_for(lambda: session.updates > updates or not session.wake.is_set(), "the last change")

            change(200)
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            change(1000)
            time.sleep(0.5)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
            stop.set()
            reader.join()
        assert grown < 1_500_000  # one scene is a quarter of that
        assert len(buffer.message_from_id) < 50
        assert len(browser.reliefs()) <= 2
        assert session.updates < 1000  # those in between were passed over
        assert browser.nodes and session.painted[1].depth_range.near == pytest.approx(1 + 999 % 90 / 100)


def test_a_picture_that_cannot_be_read_is_said_and_the_next_one_works(serve, tmp_path):
    write_picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"broken")
    files = tuple(find_pictures([str(tmp_path / "in")]))
    server = serve(source=Source(SourceFacts(names=tuple(names_of(files))), files))
    with BareBrowser(server.port) as browser:
        first_scene(browser)
        browser.set("Picture", "b.png")
        browser.wait(lambda: "b.png: damaged" in browser.text(), "what is wrong")
        browser.set("Picture", "a.png")
        browser.wait(lambda: "a: 80" in browser.text(), "the other picture")


@pytest.mark.parametrize("file_format", SAVE_FORMATS)
def test_files_are_saved_as_the_scene_is_set(serve, file_format):
    with BareBrowser(serve().port) as browser:
        first_scene(browser)
        browser.move_to("Decimation", 3, "fewer points")
        browser.set("Save as", file_format)
        name = "0_depth16.png" if file_format == "png" else f"0.{file_format}"
        browser.click("Save")
        data = browser.wait(lambda: browser.files.get(name), "a file")
        if file_format == "npy":
            assert np.load(io.BytesIO(data)).shape == (30, 40)
        elif file_format != "png":
            loaded = trimesh.load(io.BytesIO(data), file_type=file_format, process=False)
            loaded = next(iter(loaded.geometry.values())) if isinstance(loaded, trimesh.Scene) else loaded
            assert loaded.vertices.shape == (11 * 14, 3)


def test_errors_of_saving_are_told(serve, monkeypatch):
    from lib.demo import viewer_session

    def fail(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr(viewer_session, "export_bytes", fail)
    with BareBrowser(serve().port) as browser:
        first_scene(browser)
        browser.click("Save")
        browser.wait(lambda: any("the disk is full" in note for note in browser.notes), "what happened")


def test_it_listens_on_this_machine_alone_and_takes_the_next_free_port(serve):
    first, second = serve(), serve()
    assert first.port >= FIRST_PORT and second.port > first.port
    with socket.create_connection(("localhost", first.port), timeout=5):
        pass
    if sys.platform.startswith("linux"):  # another address of the loopback device: open if all addresses are
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", first.port), timeout=5)


def test_what_is_said_about_where_it_listens():
    assert len(describe("http://localhost:8080", "localhost", 8080, 8080)) == 1
    said = "\n".join(describe("http://localhost:8081", "0.0.0.0", 8080, 8081))
    assert "8080 is taken" in said and "other machines" in said


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_hosts_that_cannot_be(host):
    with pytest.raises(UserError, match=f"--host {host}"):
        free_port(host, FIRST_PORT)


def test_nothing_can_publish_the_page(serve):
    server = serve()
    with BareBrowser(server.port) as browser:
        first_scene(browser)
        assert browser.theme["show_share_button"] is False
        browser.send("ShareUrlRequest")
        time.sleep(0.3)
        assert server.server._share_tunnel is None


def test_a_session_that_ends_before_its_first_picture(serve):
    server = serve(model=StubModel(seconds=0.3))
    with BareBrowser(server.port):
        wait_for(lambda: server.sessions, "a session")
        (session,) = server.sessions.values()
    wait_for(lambda: not server.sessions and session.closed, "its end")
    wait_for(lambda: not (session.player.is_alive() or session.painter.is_alive()), "the end of its threads")
