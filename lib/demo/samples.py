"""What the scripts show when no input is named: a rendered picture and a rendered video that come with the checkout.

Both are made by experiments/procedural_scenes.py; simple_examples/samples/README.md has the commands.
"""

from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "simple_examples" / "samples"
SAMPLE_PICTURE = SAMPLES / "sample_room.jpg"
SAMPLE_VIDEO = SAMPLES / "sample_clip.mp4"
