"""A GPU between two jobs of one process: whether it still works, and how much of its memory the process keeps."""

import gc

import torch

from fedistill.training import descent, graphs

SHARE = 0.5
"""Share of the card's memory that a process may keep between jobs."""


def settle() -> bool:
    """Give back memory that the process keeps beyond `SHARE`, and return whether the card still works for it.

    What is kept makes the next job of the same shapes start warm: graphs with their buffers, and memory that PyTorch
    has at hand. Jobs of other shapes add theirs, and graphs give up their memory only all together: so when it is too
    much all are forgotten, which costs the next job what it cost the first.

    A process in which a kernel has failed (such as one that read outside its memory) can never use the card again.
    """
    if not torch.cuda.is_initialized():
        return True
    try:
        torch.cuda.synchronize()
        if _too_much():
            torch.cuda.empty_cache()
        if _too_much():
            descent.forget()
            graphs.forget()
            gc.collect()
            torch.cuda.empty_cache()
    except RuntimeError:
        return False
    return True


def _too_much() -> bool:
    here = torch.cuda.current_device()
    return torch.cuda.memory_reserved(here) > SHARE * torch.cuda.get_device_properties(here).total_memory
