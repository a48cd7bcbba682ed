"""torch-fidelity's command line with one more feature extractor, a classifier of ours read from a file of weights."""

import torch
from safetensors import safe_open
from torch_fidelity import FeatureExtractorBase, register_feature_extractor
from torch_fidelity.fidelity import main

from lightning_gvae.metrics.fidelity.domain import Classifier


class DomainExtractor(FeatureExtractorBase):
    def __init__(self, name, features_list, feature_extractor_weights_path=None, **options):
        super().__init__(name, features_list)
        with safe_open(feature_extractor_weights_path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            size, channels = int(file.metadata()["size"]), int(file.metadata()["channels"])
        classes, dims = state["output.weight"].shape
        self.channels, self.net = channels, Classifier((channels, size, size), classes, dims)
        self.net.load_state_dict(state)

    @staticmethod
    def get_provided_features_list():
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled():
        return False

    def forward(self, images):
        assert images.dtype == torch.uint8
        features, logits = self.net(images[:, : self.channels])  # it opens grey files as RGB
        outputs = {"features": features, "logits": logits}
        return tuple(outputs[name] for name in self.features_list)


if __name__ == "__main__":
    register_feature_extractor("domain", DomainExtractor)
    main()
