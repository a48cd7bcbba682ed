import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.report.page import format_number, metric_unit, run_summary, write_report, write_run_report

NASTY = "<script>alert(\"1\")</script> & 'more'"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Reads a page, checks that its tags are balanced and collects what a reader would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.texts.append(data)

    def sources(self) -> list[str]:
        return [attributes["src"] for tag, attributes in self.tags if tag == "img"]


def picture(path: Path, colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), colour).save(path)
    return path


def uri(path: Path) -> str:
    kind = "gif" if path.suffix == ".gif" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def run_folder(folder: Path) -> Path:
    for index, name in enumerate(("a.png", "b.gif")):
        picture(folder / "figures" / name, index)
    figures = [{"title": name, "caption": f"About {name}.", "file": name} for name in ("b.gif", "a.png")]
    run = {"model": "BetaVAE", "data": "dsprites", "steps": 12000}
    (folder / "figures" / "index.json").write_text(json.dumps({"run": run, "figures": figures}))
    return folder


def test_the_page_holds_everything_and_needs_nothing(tmp_path: Path) -> None:
    files = [picture(tmp_path / "a.png"), picture(tmp_path / "b.gif", 200)]
    figures = [(f"Title {index}", f"Caption {index}", file) for index, file in enumerate(files)]
    path = write_report(
        tmp_path / "out" / "report.html",
        "My title",
        "My summary.",
        {"val/elbo": -1234.5, "val/active_units": 6.0},
        figures,
        "a: 1\nb: 2\n",
        {"seed": 3, "versions": {"torch": "2.9"}},
    )
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.sources() == [uri(file) for file in files]
    for wanted in (
        "My title",
        "My summary.",
        "Title 0",
        "Caption 1",
        "−1,234.5",
        "nats",
        "6",
        "dimensions",
        "torch 2.9",
    ):
        assert wanted in page.texts, wanted
    assert "a: 1\nb: 2\n" in page.texts
    assert not re.search(r"https?://|<script|<link|<iframe|@import|url\(|javascript:", text)
    assert {key for _, attributes in page.tags for key in attributes} <= {
        *("lang", "charset", "name", "content", "http-equiv", "class", "src", "alt", "scope")
    }
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text and "width=device-width" in text
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_the_configuration_is_folded_away(tmp_path: Path) -> None:
    text = write_report(tmp_path / "r.html", "t", "s", {"kl/1": 2.0}, [], "a: 1").read_text()
    folded = re.findall(r"<details>(.*?)</details>", text, re.DOTALL)
    assert len(folded) == 2 and "kl/1" in folded[0] and "a: 1" in folded[1]
    assert "Configuration" not in write_report(tmp_path / "r.html", "t", "s", {}, []).read_text()


def test_everything_is_escaped(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    facts = {NASTY: NASTY, "versions": {NASTY: NASTY}, "list": [NASTY]}
    path = write_report(tmp_path / "r.html", NASTY, NASTY, {NASTY: 1.0}, [(NASTY, NASTY, file)], NASTY, facts)
    page = Page(path.read_text(encoding="utf-8"))
    assert "script" not in [tag for tag, _ in page.tags]
    assert page.texts.count(NASTY) >= 6
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == [NASTY]


def test_metrics_are_in_a_fixed_order_with_dimensions_by_number(tmp_path: Path) -> None:
    names = ["kl/10", "kl/2", "train/kl", "own", "val/kl", "test/kl", "evolution/beta"]
    page = Page(write_report(tmp_path / "r.html", "t", "s", dict.fromkeys(names, 1.0), []).read_text())
    assert [text for text in page.texts if text in names] == [
        *("test/kl", "val/kl", "train/kl", "evolution/beta", "own", "kl/2", "kl/10")
    ]


def test_a_missing_figure_is_an_error_and_leaves_the_old_page(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")
    with pytest.raises(DataError, match=r"`figures` names .*gone.png, which does not exist"):
        write_report(path, "t", "s", {}, [("a", "b", tmp_path / "gone.png")])
    with pytest.raises(DataError, match=r"`figures` must be images \(.png, .*\), got .*notes.txt"):
        write_report(path, "t", "s", {}, [("a", "b", tmp_path / "notes.txt")])
    assert path.read_text() == "old"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="`path` must lie in a folder that can be written"):
        write_report(tmp_path / "file" / "r.html", "t", "s", {}, [])


def test_a_run_report_needs_only_the_folder(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text("seed: 5\n")
    (folder / "run.json").write_text(
        json.dumps(
            {"wall_seconds": 3725.0, "resumed_from": None, "metrics": {"hidden": 1}, "git_revision": "abc-dirty"}
        )
    )
    path = write_run_report(folder, {"val/elbo": -50.0})
    page = Page(path.read_text(encoding="utf-8"))
    assert path == folder / "report.html"
    assert page.sources() == [uri(folder / "figures" / name) for name in ("b.gif", "a.png")]
    for wanted in ("BetaVAE on dsprites", "About b.gif.", "seed: 5\n", "1 h 02 min", "Git revision", "abc-dirty"):
        assert wanted in page.texts, wanted
    assert "hidden" not in path.read_text() and "Resumed from" not in page.texts


def test_a_run_report_can_be_written_again_with_more(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    write_run_report(folder, {"val/elbo": -50.0})
    facts = {"evolution_extra_compute": 0.0412, "wall_seconds": 75.4}
    text = write_run_report(folder, {"test/elbo": -51.0}, "own: config", facts).read_text()
    page = Page(text)
    for wanted in ("own: config", "4.12 % of training", "1 min 15 s", "−51"):
        assert wanted in page.texts, wanted
    assert "−50" not in page.texts
    assert any("Test: ELBO −51 nats." in words for words in page.texts)


def test_a_run_report_shows_the_figures_of_other_callbacks_too(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    for number, name in enumerate(("z", "c")):
        picture(folder / "figures" / f"{name}.png", 5 + number)
        listed = {"figures": [{"title": name, "caption": f"Of {name}.", "file": f"{name}.png"}]}
        (folder / "figures" / f"{name}.index.json").write_text(json.dumps(listed))
    page = Page(write_run_report(folder, {}).read_text(encoding="utf-8"))
    assert page.sources() == [uri(folder / "figures" / name) for name in ("b.gif", "a.png", "c.png", "z.png")]
    assert "Of z." in page.texts


def test_a_run_report_without_figures(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    page = Page(write_run_report(folder, {"test/kl": 2.0}).read_text())
    assert "evaluation" in page.texts and "Figures" not in page.texts
    assert "The model was evaluated. Test: KL 2 nats." in page.texts


@pytest.mark.parametrize(
    ("content", "message"), [("{", "is not valid JSON"), ("[1]", "must hold a JSON object, got list")]
)
def test_a_damaged_record_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(DataError, match=message):
        write_run_report(tmp_path, {})


def test_a_listed_figure_that_was_deleted_is_an_error(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / "figures" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png, which does not exist"):
        write_run_report(folder, {})


def test_the_summary_says_what_is_known() -> None:
    run = {"model": "EVAE", "data": "celeba", "steps": 1}
    metrics = {"val/elbo": -10.25, "val/recon": 8.0, "val/kl": 2.25, "test/elbo": float("nan"), "train/beta": 1.5}
    assert run_summary(run, metrics) == (
        "EVAE was trained on celeba for 1 optimiser step. Validation: ELBO −10.25 nats, reconstruction 8 nats, "
        "KL 2.25 nats. Test: ELBO nan nats. The KL weight ended at 1.5."
    )
    assert run_summary({}, {}) == "The model was evaluated."


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1e-7, "1e−07"), (999.96, "1000"), (1234.56, "1,234.6"), (-0.5, "−0.5"), (1e12, "1e+12")],
)
def test_numbers(value: float, text: str) -> None:
    assert format_number(value) == text
    assert [format_number(number) for number in (float("nan"), float("-inf"))] == ["nan", "−inf"]


def test_units() -> None:
    nats = ["val/elbo", "train/loss", "test/recon", "kl/31", "evolution/kl", "train/target_kl"]
    assert {metric_unit(name) for name in nats} == {"nats"}
    assert [metric_unit(name) for name in ("train/beta", "kl", "own")] == ["", "nats", ""]
