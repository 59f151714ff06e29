"""Procedural scenes: layouts of simple solids, and a batched ray caster that turns them into pictures with exact depth.

    canvas.py, patterns.py, cutouts.py, textures.py    a library of patterns, painted once per process
    materials.py       colours (mostly pale and brown, as in photographs) and surfaces made from them
    builder.py         Scene and Frame: lists of solids, standing where a layout puts them
    furniture.py, small_things.py, outdoors.py    things of rooms, tables, streets and gardens
    rooms.py           walls, windows, doors and the light of rooms
    layouts.py, near_layouts.py, open_layouts.py, street.py    whole scenes with camera and lights
    kinds.py           all kinds of scenes; a seed -> a Scene
    camera.py          cameras and the rays of their pixels
    shapes.py          ray against box, ellipsoid, cone, leafy ellipsoid and cut-out card
    visibility.py      which solid is nearest at each pixel, tile by tile (also for the shadow maps)
    surface.py         normals and texture colours at the visible points
    screen_space.py    contact shading and reflections
    lighting.py        lamps, sun, sky, shadows, fog, and all light together
    effects.py         what a camera adds: exposure, blur, noise, JPEG
    render.py          all of these in order

The world is right-handed in metres, z up; a camera looks along its own z, with x right and y down.
"""
