"""A second device on a machine without one: tensors that lie on the CPU, say they are elsewhere, and refuse to be mixed
with others as those of two GPUs do."""

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
COPIES = ("aten::_to_copy", "aten::copy_", "aten::_local_scalar_dense")  # operations that cross devices


class Elsewhere(torch.Tensor):
    """A tensor on the second device, whose values stand in `raw`."""

    @staticmethod
    def __new__(cls, raw):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=f"{NAME}:0",
        )

    def __init__(self, raw):
        self.raw = raw

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = func._schema.name
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if name not in COPIES and any(not isinstance(tensor, cls) and tensor.ndim for tensor in tensors):
            raise RuntimeError(f"{name} was given tensors of two devices")
        goes_home = "device" in kwargs and torch.device(kwargs["device"]).type == "cpu"
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        result = func(*tree_map(_raw, args), **tree_map(_raw, kwargs))
        for argument in args:  # operations in place give back what they were given
            if isinstance(argument, torch.Tensor) and result is _raw(argument):
                return argument
        return result if goes_home else tree_map(lambda x: cls(x) if isinstance(x, torch.Tensor) else x, result)


def _raw(value):
    return value.raw if isinstance(value, Elsewhere) else value


def register() -> str:
    """Make the device known to torch; returns its name."""
    torch.utils.rename_privateuse1_backend(NAME)
    _setup_privateuseone_for_python_backend(NAME)
    torch.library.impl("aten::empty.memory_format", "PrivateUse1")(
        lambda size, dtype=None, **_: Elsewhere(torch.empty(size, dtype=dtype))
    )
    torch.library.impl("aten::empty_strided", "PrivateUse1")(
        lambda size, stride, dtype=None, **_: Elsewhere(torch.empty_strided(size, stride, dtype=dtype))
    )

    def copy(source, target, non_blocking=False):
        _raw(target).copy_(_raw(source))
        return target

    torch.library.impl("aten::_copy_from", "PrivateUse1")(copy)
    return f"{NAME}:0"
