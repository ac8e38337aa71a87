"""What a sweep decides before it starts, beside its grid."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.claims import ClaimError
from workbench.config import ConfigError
from workbench.record.plan import Plan
from workbench.sweep.compose import Composer
from workbench.sweep.planning import plan_sweep


@pytest.mark.parametrize(
    ("key", "value", "off"),
    [("keep", "last", "none"), pytest.param("patience", "3", "null", marks=pytest.mark.slow)],
)
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


ASSAYED = """
pairs: [6, 12]
claims:
- name: learns_the_same
  statement: Batch padding learns the same.
  source: ours
  metric: loss/validation_per_token
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: same
  smallest: 1.02
  why_smallest: a test
  assay: {learnt: 0.05, planted: {optimizer.learning_rate: 0.0001}}
"""


def test_the_planted_arm_of_an_assay_must_be_in_the_grid_and_is_not_the_control_that_is_run_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(ASSAYED)

    def planned(*grids: str) -> Plan:
        return plan_sweep(Composer(), [f"sweep.claims={path}", f"sweep.grids=[{','.join(grids)}]"])[2]

    plain, planted = "{padding:[global,batch]}", "{padding:[global],optimizer.learning_rate:[0.0001]}"
    with pytest.raises(
        ClaimError, match=r"claims\.yaml:13: claim learns_the_same: no planned job has"
    ) as refused:
        planned(plain)
    assert "optimizer.learning_rate=0.0001" in str(refused.value)
    found = planned(planted, plain)
    assert (found.blocks, len(found.jobs)) == (12, 3 + 12 * 4)
    again = {str(job.tree["optimizer"]["learning_rate"]) for job in found.jobs if job.repeat}
    assert again == {"0.003"}, "the default, not what is planted"
