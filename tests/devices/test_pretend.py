"""The pretend device computes what the CPU computes, refuses what a device refuses, and counts what costs time."""

import pytest
import torch

from tests.devices.ledger import Ledger, Tally
from tests.devices.pretend import MixedDevicesError, pretend_device
from tests.devices.runs import Runs
from tests.processes import start_ranks

SMALL = ("data=digits", "+data.device_cache=false", "trainer.max_steps=6", "callbacks.figures=null", "test=false")


def in_a_process(check):
    """The device changes its process for good."""
    start_ranks(check, world=1)


def training_on_it(rank):
    def trained(device):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Embedding(7, 4), torch.nn.LSTM(4, 5, batch_first=True)).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01, fused=True)
        words = torch.randint(7, (3, 6)).to(device)
        for _ in range(3):
            optimizer.zero_grad()
            states, (hidden, cell) = network(words)
            (states.square().mean() + hidden.exp().sum() - cell.sum()).backward()
            optimizer.step()
        return [parameter.detach().cpu() for parameter in network.parameters()]

    expected = trained(torch.device("cpu"))
    with pretend_device(Ledger()) as device:
        found = trained(device)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other)


def test_training_on_it_computes_what_the_cpu_does():
    in_a_process(training_on_it)


def mixed(rank):
    with pretend_device(Ledger()) as device:
        here = torch.ones(3, device=device)
        for operation in (
            lambda: here + torch.ones(3),
            lambda: torch.cat([here, torch.ones(3)]),
            lambda: torch.cat([here, torch.ones(3)[:1]]),
            lambda: torch.zeros(3)[here.long()],
            lambda: torch.randn(2, device=device, generator=torch.Generator()),
            lambda: torch.nn.Linear(3, 1)(here),
        ):
            with pytest.raises(MixedDevicesError):
                operation()
        assert (here * torch.tensor(2.0)).tolist() == [2.0, 2.0, 2.0]  # scalars on the CPU are numbers


def test_operations_that_mix_devices_are_refused():
    in_a_process(mixed)


def counted(rank):
    ledger = Ledger()
    with pretend_device(ledger) as device:
        here, chosen = torch.arange(4.0, device=device), torch.tensor([True, False, True, False], device=device)
        pinned, pageable, odd = torch.empty(4, pin_memory=True), torch.zeros(4), here.sum().long() % 2
        copies_and_waits = {
            "computes": (lambda: here + 1, 0, 0),
            "reads a number": (lambda: here.sum().item(), 0, 1),
            "reads a truth": (lambda: bool(here.sum() > 1), 0, 1),
            "reads a list": (lambda: here.tolist(), 0, 1),
            "writes a number": (lambda: f"{here.sum():g}", 0, 1),
            "copies to the host": (lambda: here.cpu(), 0, 1),
            "chooses by truths": (lambda: here[chosen], 0, 1),
            "chooses by numbers": (lambda: here[chosen.long()], 0, 0),
            "chooses by one number of the device": (lambda: here[odd], 0, 1),
            "chooses by numbers of the host": (lambda: here[torch.tensor([0, 1])], 1, 1),
            "finds what is not 0": (lambda: here.nonzero(), 0, 1),
            "compares": (lambda: torch.allclose(here, here), 0, 1),
            "makes a tensor of numbers": (lambda: torch.tensor(1.0, device=device), 1, 1),
            "the same of a list": (lambda: torch.as_tensor([1.0], device=device), 1, 1),
            "the same by another": (lambda: here.new_tensor([1.0]), 1, 1),
            "fills a tensor": (lambda: torch.full((), 1.0, device=device), 0, 0),
            "copies to the device": (lambda: pageable.to(device), 1, 1),
            "the same, and is staged": (lambda: pageable.to(device, non_blocking=True), 1, 1),
            "copies pinned memory": (lambda: pinned.to(device), 1, 1),
            "the same without waiting": (lambda: pinned.to(device, non_blocking=True), 1, 0),
            "copies back into it": (lambda: pinned.copy_(here, non_blocking=True), 0, 0),
            "waits": (lambda: torch.accelerator.synchronize(), 0, 1),
        }
        for name, (operation, copies, waits) in copies_and_waits.items():
            found = Tally()
            ledger.turn_to(found)
            operation()
            assert (found.copies.total(), found.waits.total()) == (copies, waits), (name, found)
            assert all("test_pretend.py:" in cause for cause in (*found.copies, *found.waits)), (name, found)


def test_copies_and_waits_are_counted_with_their_place():
    in_a_process(counted)


def without_float64(rank):
    with pretend_device(Ledger(), float64=False) as device:
        for operation in (
            lambda: torch.zeros(2, dtype=torch.float64, device=device),
            lambda: torch.zeros(2, dtype=torch.float64).to(device),
            lambda: torch.zeros(2, device=device).double(),
            lambda: torch.zeros(2, device=device).sum(dtype=torch.float64),
        ):
            with pytest.raises(TypeError, match="float64"):
                operation()
        assert torch.zeros(2, device=device).cpu().double().dtype == torch.float64


def test_fp64_can_be_forbidden():
    in_a_process(without_float64)


def test_planted_faults_are_found_with_their_place(tmp_path):
    planted = "+callbacks.planted={_target_:tests.devices.planted.%s}"
    runs = Runs(tmp_path, {name: [*SMALL, planted % name] for name in ("ReadsLoss", "Mixes")})
    ordinary = [stage for stage in runs.stages("ReadsLoss") if stage.kind == "ordinary"]
    assert ordinary
    for stage in ordinary:
        assert len(stage.tally.waits) == 1 and "planted.py:15 (on_train_batch_end)" in next(iter(stage.tally.waits))
    error = runs.error("Mixes")
    assert error is not None and "MixedDevicesError" in error and "[(8,)]" in error
