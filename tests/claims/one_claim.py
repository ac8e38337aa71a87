"""A claims file of one claim: in two pairs, padding changes no number."""

CLAIMS = """
schema: 1
pairs: 2
control_again: false
claims:
- name: equal
  kind: exact
  statement: Nothing differs.
  source: ours
  metric: loss/validation_per_token
  scale: difference
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: same
  smallest: 0
  why_smallest: a test
"""
