"""Claims declared before any run, and the verdicts that tracked runs give on them.

claims = load("experiments/padding_ablation/claims.yaml")
for verdict in judge_table(claims, mlflow.search_runs(...)):
    print(verdict.claim, verdict.label, verdict.finding)
"""

from workbench.claims.checks import check_against, check_arms, check_pairs
from workbench.claims.declaration import Claim, ClaimError, ClaimSet, claims_sha, load, planned
from workbench.claims.runs import PairingError, normalise
from workbench.claims.table import judge, judge_table
from workbench.claims.verdict import Verdict

__all__ = [
    "Claim",
    "ClaimError",
    "ClaimSet",
    "PairingError",
    "Verdict",
    "check_against",
    "check_arms",
    "check_pairs",
    "claims_sha",
    "judge",
    "judge_table",
    "load",
    "normalise",
    "planned",
]
