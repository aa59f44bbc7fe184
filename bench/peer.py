"""PyTorch's side of `cargo xtask bench cpu`: reads questions and writes answers, a JSON line each.

    python peer.py THREADS

It starts with {"version": ..., "packages": {...}}, or {"missing": package}. Then

- {"op": case} builds an op's tensors, runs it once and answers with a weighted sum of the output
  and a projection of every gradient;
- {"network": spec} builds a network, takes two steps and answers with the losses and the layout
  of images that was faster;
- {"run": {"times": n, "recompute": false}} answers with the seconds of one of n runs of what was
  built last;
- {"memory": spec, ...} answers with the memory of a training; asked in a process of its own.

An answer {"error": message} leaves the process ready for the next question. All others have the
seconds of processor time that this process has used, and of all time, while it waited: little of
the first, if it left the processors to the other side.
"""

import importlib.metadata
import importlib.util
import json
import sys
import time

# OpenMP's threads spin for some milliseconds before they sleep. PyTorch is slower without that,
# so it stays; the other side's turn begins when they sleep.
PAUSE = 0.02

# What libraries print is for people and must not get among the answers.
ANSWERS, sys.stdout = sys.stdout, sys.stderr


def version(package):
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


class Peer:
    def __init__(self):
        self.built = None

    def answer(self, question):
        if "op" in question:
            from peer_ops import Op

            self.built = None
            self.built = Op(question["op"])
            return self.built.check()
        if "network" in question:
            from peer_networks import Network

            self.built = None
            self.built = Network(question["network"])
            return self.built.check()
        if "memory" in question:
            from peer_networks import memory

            return memory(**question["memory"])
        run = question["run"]
        total = sum(self.built.run(run["recompute"]) for _ in range(run["times"]))
        return {"seconds": total / run["times"]}


def say(answer):
    print(json.dumps(answer), file=ANSWERS, flush=True)


def main():
    for package in ("numpy", "torch"):
        if version(package) is None:
            return say({"missing": package})
    import torch

    torch.set_num_threads(int(sys.argv[1]))
    packages = {name: version(name) for name in ("torchvision", "timm")}
    say({"version": torch.__version__, "packages": packages})
    peer = Peer()
    waited_from = (time.process_time(), time.perf_counter())
    for line in sys.stdin:
        waited = (time.process_time() - waited_from[0], time.perf_counter() - waited_from[1])
        try:
            answer = peer.answer(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        time.sleep(PAUSE)
        waited_from = (time.process_time(), time.perf_counter())
        say(answer | {"waited": waited})


if __name__ == "__main__":
    main()
