import numpy as np
import pytest
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from lightning_gvae.errors import ConfigError
from lightning_gvae.plots.pareto import genealogy, hypervolumes, pareto_front
from lightning_gvae.rng import numpy_stream

FRONT = np.array([[0.10, 2.9], [0.30, 1.2], [0.12, 1.8]])
LABELS = ("Loss", "LoC")


def boxes(figure):
    return [artist for artist in figure.axes[0].get_children() if isinstance(artist, AnnotationBbox)]


def test_every_members_reconstruction_hangs_at_its_own_point():
    pictures = np.stack([np.full((1, 28, 28), grey, np.float32) for grey in (0.2, 0.5, 0.9)])
    figure = pareto_front(FRONT, pictures, np.zeros((1, 28, 28)), np.array([[0.5, 2.0]]), LABELS, chosen=2)
    found = boxes(figure)
    assert len(found) == 4  # and the original
    for box in found[:-1]:
        at = int(np.argmin(np.abs(FRONT[:, 1] - box.xy[0])))
        assert tuple(box.xy) == (FRONT[at, 1], FRONT[at, 0])
        (image,) = box.findobj(OffsetImage)
        assert abs(int(np.asarray(image.get_data())[10, 10, 0]) - 255 * pictures[at, 0, 0, 0]) < 1
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text().isdigit()] == ["1", "2", "3"]
    colour = pareto_front(FRONT, np.zeros((3, 3, 8, 8)), np.zeros((3, 8, 8)), np.zeros((0, 2)), LABELS)
    assert len(boxes(colour)) == 4
    assert len(figure.axes[0].lines) == 1
    # Of three objectives the front is no line in the plane of two.
    loose = pareto_front(FRONT, pictures, np.zeros((1, 28, 28)), np.zeros((0, 2)), LABELS, joined=False)
    assert not loose.axes[0].lines


def test_hypervolume_and_genealogy():
    figure = hypervolumes([1.0, 2.0, 2.0], (4, 12))
    assert figure.axes[0].lines[0].get_ydata().tolist() == [1.0, 2.0, 2.0]
    losses = numpy_stream(0, "losses").random(5).tolist()
    tree = genealogy([0, 0, 1, 1, 2], losses, [(), (), (0, 1), (1,), (2,)], [4])
    # One line a parent; those that lead to candidate 4 are in colour: 2-0, 2-1 and 4-2.
    drawn = tree.axes[0].lines
    assert len(drawn) == 4 and sum(line.get_color() == "#0072b2" for line in drawn) == 3


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="one for each of the members, got 2 for 3"):
        pareto_front(FRONT, np.zeros((2, 1, 8, 8)), np.zeros((1, 8, 8)), np.zeros((0, 2)), LABELS)
    with pytest.raises(ConfigError, match="equally many, got 1, 2 and 1"):
        genealogy([0], [0.1, 0.2], [()], [])
