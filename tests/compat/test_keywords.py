"""Keywords of the last release in Python: understood for one release, each with a warning that names the new one."""

import pytest

from lightning_gvae.callbacks.beta_evolution import BetaEvolution
from lightning_gvae.datamodules.image_folder import ImageFolderDataModule
from lightning_gvae.evolution.beta import BetaSearch


@pytest.mark.filterwarnings("ignore:.*does not know the old name:FutureWarning")
def test_a_search_takes_its_former_keywords():
    with pytest.warns(FutureWarning, match="survivors"):
        search = BetaSearch(target=5.0, survivors=3, children=2, fitness="target_first")
    present = BetaSearch(target=5.0, variation={"survivors": 3, "children": 2}, fitness={"kind": "target_first"})
    assert search.settings() == present.settings()


def test_present_keywords_warn_of_nothing(recwarn):
    search = BetaSearch(target=5.0, variation={"survivors": 3}, fitness={"kind": "target_first"})
    BetaEvolution(search, kl_source="training")
    assert not [each for each in recwarn if issubclass(each.category, FutureWarning)]
    assert BetaSearch(target=5.0, fitness=search.fitness).settings()["fitness"] == search.settings()["fitness"]


def test_a_callback_takes_its_former_keywords():
    with pytest.warns(FutureWarning, match="kl_source"):
        assert BetaEvolution(BetaSearch(target=5.0), level="training").plan.kl_source == "training"


@pytest.mark.filterwarnings("ignore:.*does not know the old name:FutureWarning")
def test_images_take_their_former_keywords(tmp_path):
    with pytest.warns(FutureWarning, match="decoding.on_error"):
        data = ImageFolderDataModule(tmp_path, image_size=8, on_error="skip", workers=2)
    assert (data.decoding.on_error, data.decoding.workers) == ("skip", 2)
