"""What a sweep decides before it starts, beside its grid."""

from __future__ import annotations

import pytest

from workbench.config import ConfigError
from workbench.sweep.compose import Composer
from workbench.sweep.planning import plan_sweep


@pytest.mark.parametrize(("key", "value", "off"), [("keep", "last", "none"), ("patience", "3", "null")])
def test_where_a_claim_compares_what_a_clock_measures_nothing_is_kept_nor_ended_early(
    key: str, value: str, off: str
) -> None:
    asked = f"training.{key}={value}"
    given = [asked, "training.epochs=2", "training.validate_every=1"]
    with pytest.raises(ConfigError) as refused:
        plan_sweep(Composer(), ["+experiment=controls", *given])
    assert str(refused.value).startswith(f"{asked}: claim ")
    assert "is measured by a clock or the system" in str(refused.value)
    assert str(refused.value).endswith(f"leave it out (training.{key}={off})")
    assert len(refused.value.problems) == 1, "each once, however many arms have it"
    # claims that compare no time leave it to who asks
    config, declared, _ = plan_sweep(Composer(), ["+experiment=loss_masking_ablation", *given])
    assert declared
    assert str(getattr(config.training, key)) == value
