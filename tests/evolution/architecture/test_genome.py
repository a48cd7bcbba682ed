import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from scipy import stats

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.architecture.genome import Block, Genome
from lightning_gvae.evolution.architecture.genome_space import PRESETS, GenomeSpace
from lightning_gvae.nets.genome_plan import plan
from lightning_gvae.rng import numpy_stream


def rng(number: int = 0) -> np.random.Generator:
    return numpy_stream(0, "test", number)


def sleeping(space: GenomeSpace) -> Genome:
    """Only the first block is active."""
    genome = space.sample(rng())
    return replace(genome, blocks=(genome.blocks[0], *(replace(b, active=0) for b in genome.blocks[1:])))


@pytest.mark.parametrize(("preset", "genes"), [("moncae_code", 49), ("moncae_paper", 37), ("robust", 38)])
def test_length_of_the_flat_list(preset, genes):
    space = GenomeSpace(preset)
    assert len(space) == genes == len(space.values(space.sample(rng())))


@pytest.mark.parametrize(
    ("blocks", "choices"),
    [(1, {"filters": [8], "kernel": [3, 5]}), (2, {"filters": [8], "kernel": [3], "pool": [0], "lr": [1e-3]})],
)
def test_size_is_the_number_of_genomes_that_can_be_drawn(blocks, choices):
    few = {"batch_norm": [0], "activation": ["relu"], "optimizer": ["adam"]}
    space = GenomeSpace("robust", blocks, few | choices)
    drawn = {tuple(space.values(space.sample(rng(number)))) for number in range(400)}
    assert space.size() == len(drawn)


@pytest.mark.parametrize("preset", PRESETS)
def test_flat_list_json_and_genome_say_the_same(preset):
    space = GenomeSpace(preset)
    for number in range(200):
        genome = space.sample(rng(number))
        assert space.genome(space.values(genome)) == genome == space.repair(genome)
        assert Genome.from_json(genome.to_json()) == genome
        assert Genome.from_dict(json.loads(json.dumps(genome.to_dict()))) == genome
        assert genome.blocks[0].active == 1


@pytest.mark.parametrize("preset", PRESETS)
def test_a_key_is_enough_to_build_and_train_the_same(preset):
    """A cache by key is exact: genomes with one key have one plan, whatever sleeps between their blocks."""
    space = GenomeSpace(preset)
    for number in range(300):
        genome = space.sample(rng(number))
        again = Genome.from_key(genome.key)
        assert again.key == genome.key and (again.optimizer, again.lr) == (genome.optimizer, genome.lr)
        for shape in ((1, 28, 28), (3, 32, 32)):
            assert plan(again, shape) == plan(genome, shape)


def test_a_genome_is_read_in_every_form_that_users_have():
    genome = Genome.from_key("16k3nrp-4k5s rmsprop 0.0003 robust")
    assert genome.blocks == (Block(filters=16, batch_norm=1, pool=1), Block(filters=4, kernel=5, activation="sigmoid"))
    for form in (genome.key, genome.to_json(), genome.to_dict()):
        assert Genome.parse(form) == genome


def test_a_genome_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        GenomeSpace().sample(rng()).lr = 1.0


def test_genes_without_effect_do_not_change_the_key_and_all_others_do():
    genome = Genome((Block(filters=16, pool=0), Block(active=0, filters=4), Block(filters=8)))
    first, second, third = genome.blocks
    twins = [
        (replace(first, pool=2, dropout=3, skip=1), second, third),
        (first, replace(second, filters=64, pool=1, kernel=7), third),
        (first, second, third, replace(second, activation="sigmoid")),
    ]
    assert {Genome(blocks).key for blocks in twins} == {genome.key}
    # Channels never grow: 64 after 16 is 16.
    assert Genome((first, replace(third, filters=64))).key == Genome((first, replace(third, filters=16))).key
    others = [
        replace(genome, blocks=(replace(first, filters=32), second, third)),
        replace(genome, blocks=(replace(first, kernel=5), second, third)),
        replace(genome, blocks=(replace(first, batch_norm=1), second, third)),
        replace(genome, blocks=(replace(first, activation="sigmoid"), second, third)),
        replace(genome, blocks=(replace(first, pool=1), second, third)),
        replace(genome, blocks=(first, second)),
        replace(genome, optimizer="rmsprop"),
        replace(genome, lr=3e-3),
        replace(genome, rules="robust"),
    ]
    assert len({genome.key, *(other.key for other in others)}) == 10


def test_channels_never_grow():
    for number in range(300):
        filters = [block.filters for block in GenomeSpace().sample(rng(number)).phenotype]
        assert filters == sorted(filters, reverse=True)


def test_genes_are_drawn_uniformly():
    space, stream = GenomeSpace(), rng()
    drawn = np.array([space.values(space.sample(stream)) for _ in range(4000)], dtype=object)
    for at, gene in enumerate(space.genes[1:], 1):
        counts = [int((drawn[:, at] == choice).sum()) for choice in gene.choices]
        assert sum(counts) == 4000
        assert len(counts) == 1 or stats.chisquare(counts).pvalue > 1e-4


def test_one_point_crossover_takes_a_head_and_a_tail_and_cuts_uniformly():
    space, stream = GenomeSpace("robust", max_blocks=2), rng()
    ones = space.genome([gene.choices[0] for gene in space.genes])
    twos = space.genome([gene.choices[-1] for gene in space.genes])
    first, second = space.values(ones), space.values(twos)
    differs = [at for at in range(len(space)) if first[at] != second[at]]
    heads = np.zeros(len(differs) + 1)
    for _ in range(6000):
        child = space.values(space.crossover(ones, twos, stream))
        from_second = [child[at] == second[at] for at in differs]
        assert from_second == sorted(from_second)
        heads[from_second.count(False)] += 1
    # Gene 0 is 1 in both, so cuts at 0 and 1 give the same child.
    assert stats.chisquare(heads, 6000 * np.array([2, *[1] * (len(space) - 1)]) / (len(space) + 1)).pvalue > 1e-4


def test_mutation_touches_active_blocks_and_wakes_one_in_a_hundred():
    space, stream = GenomeSpace(), rng(1)
    genome = sleeping(space)
    before = space.values(genome)
    own = range(1, 8)
    woken = 0
    tries = 30_000
    for _ in range(tries):
        after = space.values(space.mutate(genome, stream, 1))
        changed = [at for at in range(49) if after[at] != before[at]]
        assert len(changed) <= 1
        if changed and changed[0] not in own and changed[0] != 48:
            assert space.genes[changed[0]].name == "active" and after[changed[0]] == 1
            woken += 1
    # 40 of the 48 genes are of sleeping blocks.
    low, high = stats.binom.interval(0.9999, tries, 40 / 48 * 0.01)
    assert low <= woken <= high


def test_mutation_of_an_active_block_may_switch_it_off_but_never_the_first():
    space, stream = GenomeSpace(), rng(2)
    genome = space.genome([1 if gene.name == "active" else gene.choices[0] for gene in space.genes])
    lost = [space.mutate(genome, stream, 40) for _ in range(100)]
    assert all(mutant.blocks[0].active for mutant in lost)
    assert any(not block.active for mutant in lost for block in mutant.blocks)
    assert space.mutate(genome, stream, 0) == genome


def test_variation_always_changes_a_gene_that_counts():
    space, stream = GenomeSpace("robust"), rng(5)
    woken = 0
    for number in range(300):
        genome = space.sample(rng(number))
        before, after = space.values(genome), space.values(space.vary(genome, stream, 1))
        (changed,) = [at for at in range(len(space)) if after[at] != before[at]]
        gene = space.genes[changed]
        assert gene.name == "active" or gene.block is None or genome.blocks[gene.block].active
        woken += gene.name == "active" and after[changed] == 1
    assert woken > 10


def test_repair_brings_every_gene_into_the_space():
    space = GenomeSpace("robust", max_blocks=2, choices={"filters": [4, 8]})
    foreign = Genome(tuple(Block(filters=200, kernel=7, pool=2, dropout=5) for _ in range(4)), "adadelta", 0.1)
    mended = space.repair(foreign)
    assert len(mended.blocks) == 2 and mended.blocks[0].filters == 8 and mended.lr == 3e-3
    assert mended.rules == "robust" and mended.optimizer == "adam" and mended.blocks[0].dropout == 0
    assert space.repair(mended) == mended


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GenomeSpace("darts"), "`preset` must be one of moncae_code"),
        (lambda: GenomeSpace(choices={"filters": []}), "search space is empty: gene 'filters' has no value"),
        (lambda: GenomeSpace(choices={"active": [0]}), "no block can be active"),
        (lambda: GenomeSpace(choices={"depth": [1]}), "`choices` may name"),
        (lambda: GenomeSpace(choices={"activation": ["relu", "tanh"]}), "`activation` must be one of.*'tanh'"),
        (lambda: GenomeSpace(choices={"kernel": [3, 4]}), "odd kernel"),
        (lambda: GenomeSpace(max_blocks=0), "`max_blocks` must be an integer of at least 1"),
        (lambda: GenomeSpace().genome([1, 2]), "has 49 genes, got 2"),
        (lambda: Genome(()), "begin with an active block"),
        (lambda: Genome((Block(),), optimizer="sgd"), "`optimizer` must be one of"),
        (lambda: Genome((Block(),), lr=0.0), "`lr` must be a positive"),
        (lambda: Genome.from_json("[1]"), "must be a JSON object"),
        (lambda: Genome.from_json("nonsense"), "must be JSON"),
        (
            lambda: Genome.from_key("8k3r adam 0.001"),
            "must be blocks, optimiser, learning rate and rules.*'8k3r adam 0.001'",
        ),
        (lambda: Genome.from_key("8q3r adam 0.001 robust"), "a block cannot be read"),
        (lambda: Genome.from_key("4k3r-8k3r adam 0.001 robust"), "channels grow"),
        (lambda: Genome.from_key("4k3r sgd 0.001 robust"), "`optimizer` must be one of"),
        (lambda: Genome.from_json('{"blocks": [[1, 2]]}'), "must hold blocks"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
