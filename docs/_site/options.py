"""One page for each group of the configuration: every file as it stands, comments and all."""

from pathlib import Path

import mkdocs_gen_files

CONF = Path(__file__).resolve().parents[2] / "conf"
TITLES = {
    "": "Commands",
    "model": "Models",
    "data": "Data",
    "callbacks": "Callbacks",
    "trainer": "Trainer",
    "logger": "Loggers",
    "evaluation": "Evaluation",
    "experiment": "Experiments",
    "study": "Studies",
    "hparams_search": "Searches over runs",
    "executor": "Executors of studies",
    "debug": "Debugging",
    "paths": "Paths",
    "hydra": "Hydra",
}


def main() -> None:
    """Write the pages and their table of contents."""
    summary = []
    groups: dict[str, list[Path]] = {name: [] for name in TITLES}
    for path in sorted(CONF.rglob("*.yaml")):
        folders = path.relative_to(CONF).parts[:-1]
        groups.setdefault(folders[0] if folders else "", []).append(path)
    for group, paths in groups.items():
        title = TITLES.get(group, group)
        page = f"{group or 'commands'}.md"
        with mkdocs_gen_files.open(f"options/{page}", "w") as out:
            out.write(f"# {title}\n\n")
            for path in paths:
                name = path.relative_to(CONF).with_suffix("")
                choice = f"{name.parent.as_posix()}={name.name}" if group else name.name
                out.write(f"## {choice}\n\n```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```\n\n")
        summary.append(f"* [{title}]({page})\n")
    with mkdocs_gen_files.open("options/SUMMARY.md", "w") as out:
        out.writelines(summary)


main()
