"""Composition with files read once is Hydra's own composition."""

from __future__ import annotations

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from workbench.config import ConfigError
from workbench.places import CONF
from workbench.sweep.compose import Composer


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param([], marks=pytest.mark.slow),
        pytest.param(["cell=gru", "cell.units=7", "padding=bucket", "seed=3"], marks=pytest.mark.slow),
        ["scale=full", "scale.epochs=4"],  # others refer to it by interpolation
        ["cell.units=7", "+experiment=padding_ablation", "data.max_length=null"],
        ["+data.new=1", "++seed=5", "~label", "padding.boundaries=[3,5]"],
        ["cell=gru", "hydra.launcher={}", "cell={units: 8}", "cell.units=9"],
    ],
)
def test_values_set_on_a_kept_base_give_what_hydra_gives(overrides: list[str]) -> None:
    compose = Composer()
    if "padding.boundaries=[3,5]" in overrides:
        overrides = ["padding=bucket", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        expected = OmegaConf.to_container(hydra_compose("config", overrides), resolve=True)
    assert compose(overrides) == compose(overrides) == expected
    compose(["seed=99"])
    assert compose(overrides) == expected


def test_what_is_wrong_is_said_alike_the_first_time_and_the_second() -> None:
    compose = Composer()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"did you mean training.epochs\?"):
            compose(["training.epoch=3"])
