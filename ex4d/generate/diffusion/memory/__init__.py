# SPDX-License-Identifier: Apache-2.0
"""How a model is held in the memory that there is. Needs no torch to be imported."""

from ex4d.generate.diffusion.memory.fit import FreeMemory, free_memory, pick_profile, smaller
from ex4d.generate.diffusion.memory.out_of_memory import is_out_of_memory
from ex4d.generate.diffusion.memory.place import load_device, place, release
from ex4d.generate.diffusion.memory.predict import Prediction, predict
from ex4d.generate.diffusion.memory.profiles import CPU, PROFILES, Profile
from ex4d.generate.diffusion.memory.settings import MEMORY_SETTINGS, MemoryWish, read_wish
from ex4d.generate.diffusion.memory.storage import keep_adapter, load_gguf, storage_for
from ex4d.generate.diffusion.memory.workload import Encoder, Workload, encoder, encoder_of, network

__all__ = [
    "CPU",
    "MEMORY_SETTINGS",
    "PROFILES",
    "Encoder",
    "FreeMemory",
    "MemoryWish",
    "Prediction",
    "Profile",
    "Workload",
    "encoder",
    "encoder_of",
    "free_memory",
    "is_out_of_memory",
    "keep_adapter",
    "load_device",
    "load_gguf",
    "network",
    "pick_profile",
    "place",
    "predict",
    "read_wish",
    "release",
    "smaller",
    "storage_for",
]
