"""What is split over what: model, workload, chip and slice.

chip.py      rates and links of one accelerator, from TOML; unknown names get the nearest
slice.py     chips as a torus or as NVLink domains; wrap rules; mesh axes onto torus axes
model.py     shape of a transformer, dense or MoE: parameters, FLOPs, activations
catalog.py   shipped shapes by name
hugging_face.py  shapes from a config.json of Hugging Face
workload.py  pre-training, fine-tuning, serving with its service level
"""

from models.sharding.specs.catalog import find_model, load_models
from models.sharding.specs.chip import ChipSpec, find_chip, load_chips
from models.sharding.specs.hugging_face import from_hugging_face
from models.sharding.specs.model import ModelSpec
from models.sharding.specs.slice import Slice
from models.sharding.specs.workload import Workload

__all__ = [
    "ChipSpec",
    "ModelSpec",
    "Slice",
    "Workload",
    "find_chip",
    "find_model",
    "from_hugging_face",
    "load_chips",
    "load_models",
]
