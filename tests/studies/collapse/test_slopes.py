import numpy as np
import pytest

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.studies.collapse.slopes import chains, first_below, read_rows, slope, slopes, write_rows


def row(policy, seed, generation, **metrics):
    return {"data": "toy", "model": "vae", "policy": policy, "seed": seed, "generation": generation, **metrics}


ROWS = [row(policy, seed, g, fid=3.0 * g + seed, elbo=-1.5) for policy in "ab" for seed in (1, 0) for g in (2, 0, 1)]


def test_the_slope_is_numpys():
    values = np.random.default_rng(0).normal(size=9)
    assert slope(values.tolist()) == pytest.approx(np.polyfit(np.arange(9), values, 1)[0])


@pytest.mark.parametrize("values", [[1.0], [1.0, float("nan")]])
def test_a_slope_needs_two_finite_values(values):
    with pytest.raises(ConfigError, match="a slope needs at least two finite values"):
        slope(values)


def test_rows_become_chains_in_the_order_of_generations_and_seeds():
    assert chains(ROWS, "fid")[("vae", "a")] == {0: [0.0, 3.0, 6.0], 1: [1.0, 4.0, 7.0]}
    assert list(chains(ROWS, "fid")[("vae", "a")]) == [0, 1]
    assert chains(ROWS, "kl") == {}
    assert slopes(ROWS, "fid", "b") == {"vae": {0: 3.0, 1: 3.0}}


def test_half_is_half_of_generation_0():
    assert first_below([0.6, 0.4, 0.31, 0.29]) == 3
    assert first_below([0.6, 0.3]) is None


def test_rows_survive_the_file(tmp_path):
    uneven = [*ROWS, row("a", 0, 3, fid=1e-17, recall=0.1)]
    write_rows(tmp_path / "rows.csv", uneven)
    assert read_rows(tmp_path / "rows.csv") == uneven


@pytest.mark.parametrize("text", [None, "no,table\n1,2\n", "data,model,policy,seed,generation,fid\na,b,c,0,x,1\n"])
def test_another_file_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(DataError, match="is no table of a collapse study"):
        read_rows(tmp_path / "rows.csv")
