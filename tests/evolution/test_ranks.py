"""Sharing candidates over ranks, adding up their scores, and noticing that ranks disagree."""

import os

import numpy as np
import torch
import torch.distributed as dist

from lightning_gvae.errors import DesyncError
from lightning_gvae.evolution.beta.lookahead import lookahead, score
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.evolution.model_copy import ModelCopy
from lightning_gvae.evolution.ranks import (
    check_agreement,
    from_first_rank,
    gather_over_ranks,
    local_indices,
    sum_over_ranks,
)
from lightning_gvae.process_group import rank_and_world_size
from tests.evolution.beta.toy import CPU, ToyVAE, make_trial, toy_data, train
from tests.processes import start_ranks

WORLD = 2


def start(rank, folder):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=WORLD)


def spawn(work, folder):
    start_ranks(work, str(folder), world=WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def evolve_together(rank, folder):
    start(rank, folder)
    torch.rand(rank + 1)  # the ranks' global generators differ, as they may
    search, model, data = BetaSearch(target=2.5, seed=4), ToyVAE(), toy_data()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    states = []
    for generation in range(3):
        train(model, optimizer, data, 20, 20 * generation)
        model_copy, trial = ModelCopy(model, optimizer), make_trial(data, generation)
        candidates = search.ask(generation, [float(model.beta)], score(model_copy, trial))
        mine = local_indices(len(candidates))
        table = np.zeros((len(candidates), 2))
        table[mine] = lookahead(model_copy, trial, candidates[mine])
        search.tell(sum_over_ranks(table, CPU))
        model.beta.fill_(search.genome[0])
        facts = {"population": search.population.tolist(), "beta": search.genome}
        check_agreement(facts, search.generation, CPU)
        states.append(search.state_dict())
    torch.save({"states": states, "mine": mine}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def fall_apart(rank, folder):
    start(rank, folder)
    messages = []
    for facts in ({"generation": 3, "beta": 1.0}, {"generation": 3, "beta": 1.0 + rank * 1e-15}):
        try:
            check_agreement(facts, 3, CPU)
        except DesyncError as error:
            messages.append(str(error))
    torch.save(messages, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def alone():
    search, model, data = BetaSearch(target=2.5, seed=4), ToyVAE(), toy_data()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for generation in range(3):
        train(model, optimizer, data, 20, 20 * generation)
        model_copy, trial = ModelCopy(model, optimizer), make_trial(data, generation)
        search.tell(lookahead(model_copy, trial, search.ask(generation, [float(model.beta)], score(model_copy, trial))))
        model.beta.fill_(search.genome[0])
    return search.state_dict()


def test_two_ranks_decide_the_same_and_as_one_would(tmp_path):
    first, second = spawn(evolve_together, tmp_path)
    assert first["states"] == second["states"]
    assert first["mine"] == [0, 2, 4, 6]
    assert second["mine"] == [1, 3, 5, 7]
    assert first["states"][-1] == alone()
    assert first["states"][-1]["genome"] != [1.0]


def test_a_difference_in_the_last_digit_is_named_on_every_rank(tmp_path):
    for rank, messages in enumerate(spawn(fall_apart, tmp_path)):
        assert len(messages) == 1  # the first facts agree
        assert "rank 1 (beta) at generation 3" in messages[0]
        assert f"this is rank {rank} with" in messages[0]


def test_without_a_group_everything_is_local():
    table = np.ones((3, 2))
    assert local_indices(3) == [0, 1, 2]
    assert sum_over_ranks(table, CPU) is table
    check_agreement({"beta": 1.0}, 0, CPU)


def talk(rank, folder):
    start(rank, folder)
    found = {
        "place": list(rank_and_world_size()),
        "all": gather_over_ranks(10 * rank),
        "first": from_first_rank(f"rank {rank}"),
    }
    tensors = gather_over_ranks({"x": torch.full((rank + 1,), float(rank))})
    found["tensors"] = [value["x"] for value in tensors]
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_ranks_tell_each_other_what_they_have(tmp_path):
    assert (rank_and_world_size(), gather_over_ranks("a"), from_first_rank("b")) == ((0, 1), ["a"], "b")
    for rank, found in enumerate(spawn(talk, tmp_path)):
        assert found["place"] == [rank, WORLD]
        assert found["all"] == [0, 10]
        assert found["first"] == "rank 0"
        assert [value.tolist() for value in found["tensors"]] == [[0.0], [1.0, 1.0]]
