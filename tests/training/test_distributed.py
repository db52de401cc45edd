"""Several processes that train one network."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from program import Ran
from trainings import SMALL

from dicomsort.model import bundle as bundles
from dicomsort.model import networks


@pytest.mark.slow
def test_two_processes_train_one_network(pictures: Path, tmp_path: Path) -> None:
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
        "dicomsort", "train", str(pictures), "--target", "light", "--out", str(tmp_path / "m"), *SMALL,
        "--epochs", "6", "--learning-rate", "0.003", "--device", "cpu", "--json",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = Ran(0, done.stdout, done.stderr).json
    assert told["last_epoch"]["number"] == 6
    assert done.stderr.count("epoch 6:") == 1
    assert bundles.load(tmp_path / "m").tag == told["model"]


@pytest.mark.parametrize("name", ["mobilenet_v1", "efficientnet_b0", "test_resnet"])
def test_batch_norms_over_several_gpus_keep_their_activations(name: str) -> None:
    from dicomsort.training.distributed import synchronised

    network = networks.Network(networks.spec_for(name), 3).eval()
    images = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = network(images)
    kinds = {type(module).__name__ for module in synchronised(network).modules()}
    assert any("SyncBatchNorm" in kind for kind in kinds)
    assert not any(kind.startswith("BatchNorm") for kind in kinds)
    assert torch.allclose(network(images), before)
