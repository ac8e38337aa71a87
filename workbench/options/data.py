"""conf/data: where sequences come from. One schema a source, the same name as in `workbench.data.sources`."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.options.schema import Options, option

TASKS = ("tag", "classify", "next")
"""A label for each token, one for the whole sequence, or for each token the one that follows."""
PARSES = ("cached", "vectorised", "one")
HOW_READ = ("batch_size", "parse", "memory_mb", "readers")
"""Options that say how a data set is read, and nothing of what it is: it is prepared once for all their values."""


@dataclass(frozen=True)
class Data(Options):
    """What every source has."""

    name: str = option(help="the source, a name in workbench.data.sources.SOURCES")
    batch_size: int = option(32, "examples a batch; not used where padding.token_budget is set", low=1)
    parse: str = option(
        "cached",
        "all examples once a run, a batch at once, or one example at a time as in 2016",
        choices=PARSES,
    )
    memory_mb: int = option(
        2048, "most that a split may take; beyond it cached is refused, the others read from disk", low=1
    )
    readers: int = option(1, "shards read at once", low=1)
    cache_dir: str | None = option(None, "where written data sets are kept; null: the user's cache folder")


@dataclass(frozen=True)
class Built(Data):
    """What every data set has that is built here, once, of examples."""

    max_examples: int | None = option(None, "examples read from the source, both splits together", low=2)
    max_length: int | None = option(None, "longest example, in tokens (of task=next its end too)", low=1)
    over_length: str = option("drop", "what happens to a longer one; counted", choices=["drop", "split"])
    validation_share: float = option(0.1, "share of examples held out for evaluation", above=0, high=0.9)
    shards: int = option(2, "TFRecord files a split", low=1, high=10_000)
    compression: str = option("", "of the TFRecord files; empty: none", choices=["", "GZIP"])
    first_class: int = option(0, "id of the first class; 1 leaves 0 to padding", low=0, high=1)
    split_seed: int = option(
        0,
        "seed of the stored order, and of which examples max_examples takes; what is held out goes by its content "
        "(of data=synthetic by this seed)",
        low=0,
    )


@dataclass(frozen=True)
class PythonSource(Built):
    """Logical lines of Python source as characters, each labelled with its token class."""

    name: str = "python_source"
    package: str = option("stdlib", "`stdlib`, or the name of any installed package")
    lines_per_file: int | None = option(
        100, "most logical lines taken from one file, so that no long file prevails; null: all", low=1
    )
    tests: bool = option(False, "also read folders called test or tests")
    min_count: int = option(
        2, "characters that occur less often in the training split are one, the unknown", low=1
    )

    task: str = option("tag", "a token class for each character, or the next one", choices=["tag", "next"])


@dataclass(frozen=True)
class Text(Built):
    """Plain text: lines, paragraphs or files, as words or characters."""

    name: str = "text"
    path: str | None = option(None, "a file, or a folder of *.txt, in UTF-8", needed=True)
    sequences: str = option(
        "line",
        "what one sequence is; a paragraph ends with an empty line",
        choices=["line", "paragraph", "file"],
    )
    tokens: str = option(
        "words", "words are what stands between white space", choices=["words", "characters"]
    )
    lowercase: bool = option(False, "all in lower case")
    test: bool = option(False, "also read the test file, and report on it once, after training")
    min_count: int = option(
        2, "tokens that occur less often in the training split are one, the unknown", low=1
    )
    task: str = option("next", "predict the token that follows", choices=["next"])


@dataclass(frozen=True)
class UniversalDependencies(Built):
    """Part-of-speech tags from CoNLL-U files."""

    name: str = "ud_english_ewt"
    path: str | None = option(None, "folder or file with .conllu or .conllu.gz")
    lowercase: bool = option(False, "words in lower case")
    test: bool = option(False, "also read the test file, and report on it once, after training")
    min_count: int = option(
        2, "words that occur less often in the training split are one, the unknown", low=1
    )
    task: str = option("tag", "a tag for each word, or the next word", choices=["tag", "next"])


@dataclass(frozen=True)
class Synthetic(Built):
    """Sequences whose lengths follow a named distribution, with labels that need the past and the future."""

    name: str = "synthetic"
    lengths: str = option(
        "geometric", "distribution", choices=["geometric", "uniform", "fixed", "one_outlier"]
    )
    mean: float = option(20.0, "mean length", low=1)
    longest: int = option(100, "longest length; that of the outlier, where there is one", low=1)
    minimum: int = option(1, "shortest length; 0 gives empty sequences", low=0)
    examples: int = option(2000, "examples made, both splits together", low=2)
    vocabulary: int = option(50, "different tokens", low=2)
    classes: int = option(8, "different labels", low=2)
    features: int = option(0, "numbers a token, drawn once for each symbol; 0: the symbol's id", low=0)
    task: str = option("tag", "a label for each token, or one for the whole", choices=["tag", "classify"])


@dataclass(frozen=True)
class TFRecord(Data):
    """Anyone's shards with a manifest, used as they are."""

    name: str = "tfrecord"
    path: str | None = option(None, "the folder that holds manifest.json", needed=True)
    test: bool = option(False, "also report on its test split, once, after training")


SCHEMAS: dict[str, type[Data]] = {
    "python_source": PythonSource,
    "ud_english_ewt": UniversalDependencies,
    "synthetic": Synthetic,
    "text": Text,
    "tfrecord": TFRecord,
}
