"""Records losses and their gradients from PyTorch into losses.safetensors.

Keys are `<op>.<case>.<x|t|beta|value|dx|dt>`; the cotangent is all ones.
"""

import argparse

import torch
import torch.nn.functional as F
from safetensors.torch import save_file


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    args = parser.parse_args()
    torch.manual_seed(0)
    out = {}

    def record(name, f, x, t=None, **extra):
        inputs = [x.clone().requires_grad_()]
        if t is not None:
            inputs.append(t.clone().requires_grad_())
        value = f(*inputs)
        value.sum().backward()
        out[f"{name}.value"] = value.detach().clone()
        for key, tensor in zip("xt", inputs):
            out[f"{name}.{key}"] = tensor.detach().clone()
            out[f"{name}.d{key}"] = tensor.grad.clone()
        for key, value in extra.items():
            out[f"{name}.{key}"] = torch.tensor(value, dtype=torch.float64)

    x = 3 * torch.randn(3, 4, dtype=torch.float64)
    x[0, 0], x[0, 1] = 800.0, -800.0
    t = torch.rand(3, 4, dtype=torch.float64)
    record("sigmoid.plain", torch.sigmoid, x)
    bce = F.binary_cross_entropy_with_logits
    for r in ("none", "sum", "mean"):
        record(f"bce.{r}", lambda x, t: bce(x, t, reduction=r), x, t)
        for name, beta in (("l1", 0.0), ("smooth", 1.5)):
            f = lambda x, t: F.smooth_l1_loss(x, t, beta=beta, reduction=r)
            record(f"{name}.{r}", f, x, t, beta=beta)
    log_p, q = torch.randn(3, 4, dtype=torch.float64).log_softmax(1), t.softmax(1)
    for r in ("none", "sum", "mean", "batchmean"):
        record(f"kl.{r}", lambda x, t: F.kl_div(x, t, reduction=r), log_p, q)
    entropy = lambda x: torch.distributions.Categorical(logits=x.movedim(1, -1)).entropy()
    z = 2 * torch.randn(2, 5, 2, 3, dtype=torch.float64)
    record("entropy.map", entropy, z)
    record("entropy.vector", entropy, z[:, :, 0, 0])
    save_file(out, args.output, metadata={"torch": torch.__version__})


if __name__ == "__main__":
    main()
