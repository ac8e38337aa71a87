"""Claims declared before any run, and the verdicts that tracked runs give on them.

claims = load("experiments/padding_ablation/claims.yaml")
for verdict in judge_table(claims, mlflow.search_runs(...)):
    print(verdict.claim, verdict.label, verdict.finding)
"""

from workbench.claims.assay import NOT_ASSESSABLE
from workbench.claims.checks import as_run, check_against, check_arms, check_measured, check_pairs
from workbench.claims.declaration import Claim, ClaimError, ClaimSet, claims_sha, load, looks, planned
from workbench.claims.pairing import concerns
from workbench.claims.runs import PairingError
from workbench.claims.stages import stages, still_planned
from workbench.claims.table import Judged, judge, judge_table, judged_table, undecided
from workbench.claims.verdict import Verdict
from workbench.record import normalise

__all__ = [
    "NOT_ASSESSABLE",
    "Claim",
    "ClaimError",
    "ClaimSet",
    "Judged",
    "PairingError",
    "Verdict",
    "as_run",
    "check_against",
    "check_arms",
    "check_measured",
    "check_pairs",
    "claims_sha",
    "concerns",
    "judge",
    "judge_table",
    "judged_table",
    "load",
    "looks",
    "normalise",
    "planned",
    "stages",
    "still_planned",
    "undecided",
]
