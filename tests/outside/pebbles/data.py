"""Grey images of one pebble each, as any package has them: a torch data set and a LightningDataModule."""

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset


class Pebbles(Dataset):
    """A disc somewhere in a square; the label is the quarter that it lies in."""

    classes = ("north-west", "north-east", "south-west", "south-east")

    def __init__(self, count: int = 96, side: int = 12, seed: int = 0) -> None:
        centres = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * side
        rows = torch.arange(side).float()
        squares = (rows[None, :, None] - centres[:, 0, None, None]) ** 2 + (rows - centres[:, 1, None, None]) ** 2
        self.images = torch.exp(-squares / 8)[:, None]
        self.labels = (2 * (centres[:, 0] > side / 2) + (centres[:, 1] > side / 2)).long()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], int(self.labels[index])


class PebblesDataModule(L.LightningDataModule):
    """Loaders of pebbles; it keeps its parts under the names that many data modules use."""

    def __init__(self, count: int = 96, side: int = 12, batch_size: int = 16) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.count, self.side, self.batch_size = count, side, batch_size
        self.calls: list[str] = []

    def prepare_data(self) -> None:
        self.calls.append("prepare_data")

    def setup(self, stage: str) -> None:
        self.calls.append("setup fit" if stage == "fit" else "setup test")
        if stage == "fit":
            self.train_set = Pebbles(self.count, self.side, seed=0)
            self.val_set = Pebbles(32, self.side, seed=1)
        if stage == "test":
            self.test_set = Pebbles(32, self.side, seed=2)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_set, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val_set, 16)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test_set, 16)


def make_pebbles(count: int = 96) -> Pebbles:
    """A function may be named as well as a class."""
    return Pebbles(count)
