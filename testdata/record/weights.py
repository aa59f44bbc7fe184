"""Records small weights files of every kind, with the values that must be read from them.

    python testdata/record/weights.py testdata/recorded/weights

Beside the files it writes `manifest.json`: for each file the safetensors file with the expected
values (types that candle lacks widened as documented in `mic_nn::weights::Weights::tensor`), the
names that must be skipped, or a part of the expected error message.
"""

import argparse
import collections
import io
import json
import os
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import torch
from safetensors.torch import save_file


class Unknown:
    """A class that only the writer of the file has."""

    def __init__(self, value):
        self.value = value


class Settings(dict):
    """A dictionary of a class of its own."""


class Attack:
    def __reduce__(self):
        return (os.system, ("echo this must never be printed",))


def widened(tensor):
    tensor = torch.as_tensor(tensor).detach()
    if tensor.dtype == torch.bool:
        return tensor.to(torch.uint8)
    if tensor.dtype in (torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint64):
        return tensor.to(torch.int64)
    return tensor


def all_types():
    values = torch.tensor([[-3.5, 0.0, 1.0], [2.0, 0.25, 100.0]])
    dtypes = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8"]
    state = collections.OrderedDict((d, values.to(getattr(torch, d))) for d in dtypes)
    state["uint8"] = values.abs().to(torch.uint8)
    state["bool"] = values > 0
    state["special"] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0])
    return state


def new_types():
    return {
        "uint16": torch.tensor([0, 65535], dtype=torch.uint16),
        "uint32": torch.tensor([0, 4294967295], dtype=torch.uint32),
        "uint64": torch.tensor([0, 2**63 - 1], dtype=torch.uint64),
    }


def views():
    base = torch.arange(24, dtype=torch.float32)
    return {
        "whole": base,
        "matrix": base.view(4, 6),
        "transposed": base.view(4, 6).t(),
        "permuted": base.view(2, 3, 4).permute(2, 0, 1),
        "row": base.view(4, 6)[2],
        "column": base.view(4, 6)[:, 5],
        "every_second": base[1::2],
        "expanded": base[3:5].view(2, 1).expand(2, 3),
        "channels_last": torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(7, dtype=torch.int64),
        "empty": torch.zeros(0, 3),
        "one": base[5],
        "parameter": torch.nn.Parameter(base.view(4, 6)[1:3, 2:4]),
        "frozen": torch.nn.Parameter(base[:2], requires_grad=False),
    }


def small_model():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(3, 2)
    )


def nested():
    import argparse as args

    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 2, 3, 3)).sum().backward()
    optimizer.step()
    wrapped = {f"module.{name}": value for name, value in model.state_dict().items()}
    settings = Settings(layers=3)
    settings["self"] = settings
    checkpoint = {
        "epoch": 3,
        "big": 2**200,
        "checkpoint": {"model": {"state_dict": collections.OrderedDict(wrapped), "note": "nested"}},
        "optimizer": optimizer.state_dict(),
        "args": args.Namespace(lr=0.1, names={"a", "b"}),
        "score": np.float64(0.5),
        "unknown": Unknown([torch.Size([2, 3]), torch.device("cpu"), torch.float16]),
        "settings": settings,
        "history": collections.defaultdict(list, loss=[1.0, 0.5]),
        "bytes": b"\x00\xff" * 4,
        "path": pathlib.PurePosixPath("a/b"),
    }
    return checkpoint, model.state_dict()


def arrays():
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    return {
        "c_order": grid,
        "f_order": np.asfortranarray(grid),
        "double": grid.astype(np.float64) / 7,
        "half": grid.astype(np.float16),
        "int32": -np.arange(5, dtype=np.int32),
        "uint8": np.arange(250, 256, dtype=np.uint8),
        "bool": np.array([True, False]),
        "zero_dim": np.array(2.5, dtype=np.float32),
        "scalar": np.float32(1.5),
        "long": np.arange(1100, dtype=np.float32) % 7,
        "none": np.zeros((0, 2), dtype=np.float32),
    }


class Python2Pickler(pickle._Pickler):
    """Writes texts and bytes as the `str` of Python 2, which does not tell them apart."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        data = value if isinstance(value, bytes) else value.encode("latin1")
        if not self.bin:
            # As repr of Python 2, for every byte.
            self.write(b"S'" + "".join(f"\\x{byte:02x}" for byte in data).encode() + b"'\n")
        elif len(data) < 256:
            self.write(b"U" + struct.pack("<B", len(data)) + data)
        else:
            self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = save_string
    dispatch[bytes] = save_string


def python2(value, protocol):
    out = io.BytesIO()
    Python2Pickler(out, protocol, fix_imports=True).dump(value)
    # The module that numpy 1 names.
    return out.getvalue().replace(b"numpy._core.", b"numpy.core.")


def storage_views():
    """The legacy format with views of storages, as PyTorch wrote before version 0.4."""
    out = io.BytesIO()
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    for value in (0x1950A86A20F9469CFC6C, 1001, system):
        pickle.dump(value, out, protocol=2)

    class View:
        def __init__(self, first, length):
            self.first, self.length = first, length

    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            if isinstance(value, View):
                view = (f"view{value.first}", value.first, value.length)
                return ("storage", torch.FloatStorage, "root", "cpu", 10, view)
            return None

    class Tensor:
        def __init__(self, *arguments):
            self.arguments = arguments

        def __reduce__(self):
            return (torch._utils._rebuild_tensor, self.arguments)

    first, second = View(0, 4), View(4, 6)
    state = [["first", Tensor(first, 1, (3,), (1,))], ["second", Tensor(second, 0, (2, 3), (3, 1))]]

    class Ordered:
        def __reduce__(self):
            return (collections.OrderedDict, (state,))

    Pickler(out, 2).dump(Ordered())
    pickle.dump(["root"], out, protocol=2)
    values = np.arange(10, dtype="<f4")
    out.write(struct.pack("<q", 10) + values.tobytes())
    return out.getvalue(), {"first": values[1:4], "second": values[4:].reshape(2, 3)}


def rewritten(path, entries):
    """A copy of a zip archive with other contents of some entries."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            name = info.filename.split("/", 1)[1]
            fixed = zipfile.ZipInfo(info.filename)
            new.writestr(fixed, entries.get(name, old.read(info)))
    return out.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    manifest = {"versions": versions, "files": []}

    def expect(name, state):
        # The entry for the manifest; the values are written once.
        state = {key: widened(value).contiguous().clone() for key, value in state.items()}
        save_file(state, folder / name, metadata=versions)
        return name

    def note(file, **about):
        manifest["files"].append({"file": file, **about})

    types = expect("expect_types.safetensors", all_types())
    for protocol in (2, 3, 4, 5):
        for zipped in (True, False):
            name = f"types_{'zip' if zipped else 'legacy'}_{protocol}.pth"
            torch.save(
                {"state_dict": all_types()},
                folder / name,
                pickle_protocol=protocol,
                _use_new_zipfile_serialization=zipped,
            )
            note(name, expected=types)
    torch.save(all_types(), folder / "types_legacy_1.pth", pickle_protocol=1,
               _use_new_zipfile_serialization=False)
    note("types_legacy_1.pth", expected=types)

    torch.serialization.set_crc32_options(False)
    torch.save(all_types(), folder / "types_without_crc.pth")
    torch.serialization.set_crc32_options(True)
    note("types_without_crc.pth", expected=types)

    recent = {**new_types(), "complex": torch.ones(2, dtype=torch.complex64),
              "float8": torch.ones(2).to(torch.float8_e4m3fn), "sparse": torch.eye(2).to_sparse()}
    unread = ["complex", "float8", "sparse"]
    new = expect("expect_new_types.safetensors", new_types())
    torch.save(recent, folder / "new_types_zip.pth")
    note("new_types_zip.pth", expected=new, skipped=unread)
    torch.save(recent, folder / "new_types_legacy.pth", _use_new_zipfile_serialization=False)
    note("new_types_legacy.pth", expected=new, skipped=unread)

    seen = expect("expect_views.safetensors", views())
    torch.save(views(), folder / "views_zip.bin")
    note("views_zip.bin", expected=seen)
    torch.save(views(), folder / "views_legacy.bin", pickle_protocol=4,
               _use_new_zipfile_serialization=False)
    note("views_legacy.bin", expected=seen)

    checkpoint, state = nested()
    inner = expect("expect_nested.safetensors", state)
    torch.save(checkpoint, folder / "nested_zip.ckpt", pickle_protocol=5)
    note("nested_zip.ckpt", expected=inner)
    torch.save(checkpoint, folder / "nested_legacy.ckpt", _use_new_zipfile_serialization=False)
    note("nested_legacy.ckpt", expected=inner)

    data = expect("expect_arrays.safetensors", arrays())
    for protocol in range(6):
        # Protocols 0 and 1 write bytes as escaped text.
        (folder / f"arrays_{protocol}.pkl").write_bytes(
            pickle.dumps({"blobs": arrays(), "cfg": "text"}, protocol=protocol))
        note(f"arrays_{protocol}.pkl", expected=data)
    for protocol in (0, 1, 2):
        (folder / f"arrays_python2_{protocol}.pkl").write_bytes(
            python2({"blobs": arrays(), "cfg": "text"}, protocol))
        note(f"arrays_python2_{protocol}.pkl", expected=data)

    old, old_state = storage_views()
    (folder / "storage_views.pth").write_bytes(old)
    note("storage_views.pth", expected=expect("expect_storage_views.safetensors", old_state))

    # What must be refused.
    small = {"a": torch.arange(3.0)}
    torch.save(small, folder / "small.pth")
    (folder / "big_endian_zip.pth").write_bytes(
        rewritten(folder / "small.pth", {"byteorder": b"big"}))
    note("big_endian_zip.pth", error="big-endian")
    out = io.BytesIO()
    torch.save(small, out, _use_new_zipfile_serialization=False)
    marker = b"little_endianq\x02\x88"
    assert out.getvalue().count(marker) == 1
    (folder / "big_endian_legacy.pth").write_bytes(
        out.getvalue().replace(marker, b"little_endianq\x02\x89"))
    note("big_endian_legacy.pth", error="big-endian")
    os.remove(folder / "small.pth")
    (folder / "big_endian_array.pkl").write_bytes(pickle.dumps({"a": np.arange(3, dtype=">f4")}))
    note("big_endian_array.pkl", error="big-endian")
    for name, zipped in (("attack_zip.pth", True), ("attack_legacy.pth", False)):
        torch.save({"state_dict": small, "meta": Attack()}, folder / name,
                   _use_new_zipfile_serialization=zipped)
        note(name, error="posix.system")
    torch.save(small_model(), folder / "object.pth")
    note("object.pth", error="torch.nn.modules.container.Sequential")
    torch.save(torch.ones(2), folder / "tensor.pth")
    note("tensor.pth", error="a tensor of shape [2]")
    torch.save({"epoch": 1, "optimizer": {"state": {0: small}}}, folder / "no_model.pth")
    note("no_model.pth", error="no tensors")
    torch.save({"encoder": small, "decoder": dict(small)}, folder / "several.pth")
    note("several.pth", error='"encoder" (1 tensors), "decoder" (1 tensors)')
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(folder / "script.pt"))
    note("script.pt", error="TorchScript")
    np.savez(folder / "arrays.npz", a=np.arange(2))
    note("arrays.npz", error="numpy .npz")

    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(sum(f.stat().st_size for f in folder.iterdir()) // 1024, "KiB")


if __name__ == "__main__":
    main()
