import numpy as np

from lightning_gvae.plots.pictures import Views, curve_pictures, image_pictures, side_by_side


def views() -> Views:
    images = np.zeros((4, 1, 8, 8))
    values = np.linspace(-3, 3, 21)
    return Views(images, images, images, np.zeros((2, 21, 1, 8, 8)), [5, 1], np.array([2.0, 1.0]), values)


def logged(names: list[str]) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    return {name: (np.array([9, 19]), np.array([1.0, 2.0])) for name in names}, names


def drawn(names: list[str]) -> list[str]:
    rows, known = logged(names)
    empty = (np.empty(0, np.int64), np.empty(0))
    return [picture.file for picture in curve_pictures(lambda name: rows.get(name, empty), known)]


def test_image_pictures() -> None:
    pictures = image_pictures(views())
    assert [picture.file for picture in pictures] == [
        "reconstructions.png",
        "traversals.png",
        "traversals.gif",
        "samples.png",
    ]
    assert [picture.figure is None for picture in pictures] == [False, False, True, False]
    traversals = pictures[1].figure
    assert traversals is not None
    assert [text.get_text() for text in traversals.axes[0].get_xticklabels()][::5] == ["−3", "0", "3"]
    assert "from −3 to 3" in pictures[1].caption
    assert pictures[0].tag == "figures/reconstructions"
    assert len({picture.tag for picture in pictures}) == 4


def test_curves_are_drawn_of_what_was_logged() -> None:
    everything = ["train/elbo", "val/elbo", "train/kl", "train/recon", "train/beta", "train/target_kl", "kl/0", "kl/10"]
    assert drawn(everything) == [
        "learning_curves.png",
        "rate_distortion.png",
        "beta_and_kl.png",
        "kl_per_dimension.png",
    ]
    assert drawn([]) == []
    assert drawn(["train/kl", "kl/all", "val/elbo"]) == []
    assert drawn(["train/elbo"]) == ["learning_curves.png"]


def test_dimensions_keep_their_numbers() -> None:
    rows, names = logged([f"kl/{index}" for index in range(12)])
    for index in range(12):
        rows[f"kl/{index}"] = (np.array([9]), np.array([float(index)]))
    empty = (np.empty(0, np.int64), np.empty(0))
    (picture,) = curve_pictures(lambda name: rows.get(name, empty), sorted(names))
    assert picture.figure is not None
    lines = [line for line in picture.figure.axes[0].get_lines() if str(line.get_label()).startswith("z")]
    ends = {line.get_label(): np.asarray(line.get_ydata())[-1] for line in lines}
    assert {name: ends[name] for name in ("z11", "z10", "z9")} == {"z11": 11, "z10": 10, "z9": 9}


def test_side_by_side_fills_gaps_with_nan() -> None:
    steps, values = side_by_side([(np.array([1, 3]), np.array([10.0, 30.0])), (np.array([2, 3]), np.array([2.0, 3.0]))])
    assert steps.tolist() == [1, 2, 3]
    assert np.array_equal(values, np.array([[10, np.nan], [np.nan, 2], [30, 3]]), equal_nan=True)
