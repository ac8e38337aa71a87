"""The error rates that the verdicts promise, measured by Monte Carlo with the functions that judge real runs.

    python -m workbench.claims.simulation [--tables 4000] [--seed 0] [--out rates.json]

prints, with its standard error: how often the t interval covers the truth under noises of timing, how often a
table of claims that sit at their bounds has any false verdict, how often the A/A arm voids a table or warns, the
power of the planned numbers of pairs; and of a table with looks its false verdicts, its power and the pairs that it
runs. Exit code 1 where a rate breaks its promise by three standard errors.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from workbench.claims import statistics
from workbench.claims.statistics import REGIONS, Floats

ALPHA = 0.05
Noise = Callable[[Generator, tuple[int, ...]], Floats]


@dataclass(frozen=True)
class Rate:
    """A share of simulated tables, and the range in which it was promised to lie."""

    what: str
    rate: float
    error: float
    tables: int
    least: float = 0.0
    most: float = 1.0

    @property
    def kept(self) -> bool:
        """Whether the promise holds within three standard errors, those of a rate exactly as promised."""
        below, above = (3 * math.sqrt(bound * (1 - bound) / self.tables) for bound in (self.least, self.most))
        return self.least - below <= self.rate <= self.most + above


def rates(tables: int, seed: int = 0) -> list[Rate]:
    """All rates, each from `tables` simulated tables; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    parts = (coverage, false_verdicts, failures, instrument, power, looks)
    return [one for part in parts for one in part(rng, tables)]


def coverage(rng: Generator, tables: int, blocks: Sequence[int] = (6, 8, 10, 12)) -> Iterator[Rate]:
    """The 95% t interval of paired log-ratios, under the noises of README.md, section 2.2."""
    for name, (noise, either_arm, least) in NOISES.items():
        for n in blocks:
            y = noise(rng, (tables, n)) - (noise if either_arm else lognormal)(rng, (tables, n))
            low, high = statistics.interval(y, 0.95)
            truth = 0.0 if either_arm else 0.1 * _mean_log_slow()
            yield _rate(f"coverage, {name}, {n} pairs", (low <= truth) & (truth <= high), least)


def false_verdicts(rng: Generator, tables: int, claims: int = 14) -> Iterator[Rate]:
    """Any verdict in a table of claims that share their control and sit exactly at their bounds.

    There each one-sided null is true, so every rejection is false: the hardest case for the table.
    """
    for direction, name, n in (
        ("higher", "log-normal", 6),
        ("higher", "log-normal", 10),
        ("same", "log-normal", 10),
        ("higher", "rare slow runs, either arm", 10),
        ("higher", "two placement modes", 12),
    ):
        noise, region = NOISES[name][0], REGIONS[direction](0.1)
        y = 0.1 + noise(rng, (tables, claims, n)) - noise(rng, (tables, 1, n))
        p = np.stack([statistics.p_inside(y, region), *statistics.p_outside(y, region)], axis=-1)
        p = p.reshape(tables, -1)
        corrected = [any(statistics.holm(list(row), ALPHA).rejected) for row in p]
        what = f"{claims} claims `{direction}`, {name}, {n} pairs"
        yield _rate(f"any false verdict, {what}, Holm", corrected, 0, ALPHA)
        yield _rate(f"any false verdict, {what}, uncorrected", (p <= ALPHA / 2).any(axis=1))


def failures(rng: Generator, tables: int) -> Iterator[Rate]:
    """A claim at its bound whose least favourable blocks fail each time: the sign test must stop it."""
    for planned, failed in ((8, 1), (10, 1), (12, 2)):
        y = np.sort(lognormal(rng, (tables, planned)) - lognormal(rng, (tables, planned)), axis=1)[:, failed:]
        decided = statistics.p_inside(y, (0.0, math.inf)) <= ALPHA / 2
        forgiven = [statistics.forgives(planned, beyond, ALPHA) for beyond in range(planned + 1)]
        stands = decided & np.array(forgiven)[(y >= 0).sum(axis=1)]
        what = f"falsely reproduced, the worst {failed} of {planned} pairs failing"
        yield _rate(f"{what}, failures counted against", stands, 0, ALPHA / 2)
        yield _rate(f"{what}, failures ignored", decided)


def instrument(rng: Generator, tables: int, n: int = 10, margin: float = math.log(1.05)) -> Iterator[Rate]:
    """The A/A arm with nothing wrong (void, warn), and with a bias of 3% (noticed)."""
    for noise, noticed in ((0.03, 0.50), (0.05, 0.22)):
        y = rng.normal(0, math.sqrt(2) * noise, (tables, n))
        low, high = statistics.interval(y, 0.95)
        yield _rate(
            f"A/A voids a sound table, noise {noise:.0%}", (low > margin) | (high < -margin), 0, 0.001
        )
        yield _rate(f"A/A warns of a sound table, noise {noise:.0%}", (low > 0) | (high < 0), 0.05, 0.05)
        low, high = statistics.interval(y + math.log(1.03), 0.95)
        seen = (low > 0) | (high < 0)
        yield _rate(f"A/A notices a bias of 3%, noise {noise:.0%}", seen, noticed - 0.03, noticed + 0.03)


def power(rng: Generator, tables: int) -> Iterator[Rate]:
    """`higher` is reproduced with the pairs that README.md, section 2.8, says give 90%, alone and first of 10."""
    for bound, noise, effect, alone, first_of_ten in (
        (1.00, 0.05, 1.10, 8, 14),
        (1.00, 0.10, 1.25, 7, 11),
        (1.05, 0.05, 1.25, 6, 7),
        (1.05, 0.10, 1.25, 10, 16),
    ):
        for n, level, words in ((alone, ALPHA / 2, "alone"), (first_of_ten, ALPHA / 20, "first of 10")):
            y = rng.normal(math.log(effect), math.sqrt(2) * noise, (tables, n))
            reproduced = statistics.p_inside(y, (math.log(bound), math.inf)) <= level
            what = f"power, {effect:.2f} against {bound:.2f}, noise {noise:.0%}, {n} pairs, {words}"
            yield _rate(what, reproduced, 0.88, 1.0)


def looks(rng: Generator, tables: int, at: Sequence[int] = (6, 12, 24), claims: int = 10) -> Iterator[Rate]:
    """Tables of claims that share their control, judged at several looks, and once at the last of them.

    Any false verdict: where all sit at their bounds, and where half do while the other half is true by far and
    leaves its part of the error to them. Pairs run, and claims decided as they are, for one true effect of all
    claims, at the bound or so many standard deviations of a pair beyond it.
    """
    region = REGIONS["higher"](0.1)
    for noise in ("log-normal", "t with 3 df", "rare slow runs, either arm"):
        for true, words in ((0, "all at their bounds"), (claims // 2, "half true by far")):
            beyond = np.where(np.arange(claims) < true, 3.0, 0.0)[:, None]
            y = 0.1 + beyond + _sharing(rng, noise, (tables, claims, at[-1]))
            found, _ = _looked(y, region, at)
            false = (found[:, true:] != 0).any(axis=1) | (found[:, :true] < 0).any(axis=1)
            yield _rate(f"any false verdict, {len(at)} looks, {noise}, {words}", false, 0, ALPHA)
    sd = math.sqrt(2) * 0.05
    for distance in (0.0, 0.5, 1.0, 2.0, 4.0):
        y = 0.1 + distance * sd + _sharing(rng, "log-normal", (tables, claims, at[-1]))
        what = f"of {claims} claims {distance:g} sd beyond their bounds"
        for ways, name in ((at, f"looks at {', '.join(map(str, at))}"), (at[-1:], f"{at[-1]} pairs, fixed")):
            found, pairs = _looked(y, region, ways)
            if len(ways) > 1:
                yield _rate(f"pairs run of {at[-1]}, {what}, {name}", pairs.mean(axis=1) / at[-1])
            if distance:
                yield _rate(f"reproduced, {what}, {name}", (found > 0).mean(axis=1))


def _sharing(rng: Generator, noise: str, shape: tuple[int, int, int]) -> Floats:
    """Effects [tables, claims, pairs] of claims that share their control."""
    make = NOISES[noise][0]
    return make(rng, shape) - make(rng, (shape[0], 1, shape[2]))


def _looked(y: Floats, region: tuple[float, float], at: Sequence[int]) -> tuple[Floats, Floats]:
    """Tables judged at looks: [tables, claims] verdicts (1 reproduced, -1 contradicted, 0 open), and pairs run."""
    tables, claims, _ = y.shape
    found, pairs = np.zeros((tables, claims)), np.full((tables, claims), float(at[-1]))
    for number in at:
        p = np.stack(
            [statistics.p_inside(y[..., :number], region), *statistics.p_outside(y[..., :number], region)],
            axis=-1,
        )
        for table in range(tables):
            before = [None if one == 0 else is_its for one in found[table] for is_its in (one > 0, one < 0)]
            now = statistics.holm_after(p[table].ravel(), ALPHA / len(at), before).rejected
            for claim in np.flatnonzero(found[table] == 0):
                found[table, claim] = float(now[2 * claim]) - float(now[2 * claim + 1])
                if found[table, claim]:
                    pairs[table, claim] = number
    return found, pairs


def lognormal(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """5% of log-normal noise."""
    return rng.normal(0, 0.05, shape)


def heavy(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """Heavy tails on both sides: t with 3 degrees of freedom."""
    return 0.03 * rng.standard_t(3, shape)


def slow(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """One run in ten is 1.3 to 2 times slow."""
    return lognormal(rng, shape) + (rng.random(shape) < 0.1) * np.log(rng.uniform(1.3, 2.0, shape))


def placement(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """Each process lands in one of two modes, 10% apart."""
    return rng.normal(0, 0.01, shape) + math.log(1.1) * (rng.random(shape) < 0.5)


def exponential(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """A run is only ever slower than it could be."""
    return rng.exponential(0.05, shape)


NOISES: dict[str, tuple[Noise, bool, float]] = {  # noise of a run, in either arm?, coverage promised
    "log-normal": (lognormal, True, 0.95),
    "t with 3 df": (heavy, True, 0.95),
    "rare slow runs, either arm": (slow, True, 0.95),
    "two placement modes": (placement, True, 0.945),
    "exponential tail": (exponential, True, 0.95),
    "rare slow runs, one arm only": (slow, False, 0.0),  # nothing saves 12 such pairs: they are flagged
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rates; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m workbench.claims.simulation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--tables", type=int, default=4000, help="simulated tables for each rate (default 4000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default 0)")
    parser.add_argument("--out", type=Path, help="write the rates as JSON, too")
    given = parser.parse_args(arguments)
    if given.tables < 100:
        parser.error(f"--tables {given.tables}: a rate needs at least 100 tables")
    measured = rates(given.tables, given.seed)
    width = max(len(one.what) for one in measured)
    print(f"{'rate':{width}}  measured    s.e.  promised")
    for one in measured:
        promised = "" if (one.least, one.most) == (0, 1) else f"{one.least:.3f} to {one.most:.3f}"
        broken = "" if one.kept else "  BROKEN"
        print(f"{one.what:{width}}  {one.rate:8.4f}  {one.error:.4f}  {promised}{broken}")
    if given.out:
        rows = [asdict(one) | {"kept": one.kept} for one in measured]
        given.out.write_text(
            json.dumps({"tables": given.tables, "seed": given.seed, "rates": rows}, indent=1)
        )
    return 0 if all(one.kept for one in measured) else 1


def _rate(what: str, happened: object, least: float = 0.0, most: float = 1.0) -> Rate:
    """The share, with a standard error that does not vanish where nothing happened in n tables."""
    events = np.asarray(happened, dtype=np.float64)
    n, share = events.size, float(events.mean())
    smoothed = (share * n + 1) / (n + 2)
    return Rate(what, share, math.sqrt(smoothed * (1 - smoothed) / n), n, least, most)


def _mean_log_slow() -> float:
    """The mean of log U for U uniform in [1.3, 2]."""
    a, b = 1.3, 2.0
    return ((b * math.log(b) - b) - (a * math.log(a) - a)) / (b - a)


if __name__ == "__main__":
    raise SystemExit(main())
