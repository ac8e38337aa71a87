"""conf/ and the dataclasses: what is accepted, what is refused, and with which words."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
import yaml
from omegaconf import OmegaConf

from workbench.config import GROUPS, SECTIONS, VARIANT_KEY, Config, ConfigError, flatten, load, problems
from workbench.former_names import _NAMES, _OPTIONS
from workbench.options.schema import check
from workbench.places import CONF, experiments, results_folder
from workbench.sweep.compose import Composer
from workbench.sweep.grid import expand
from workbench.sweep.overrides import plain, read, swept


@pytest.fixture(scope="module")
def compose() -> Composer:
    return Composer()


def test_the_defaults_are_right(compose: Composer) -> None:
    config = Config.of(compose([]))
    assert (config.data.name, config.padding.name, config.rnn.unroll, config.cell.name) == (
        "python_source",
        "batch",
        "dynamic",
        "lstm",
    )


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("http://me:hunter2@host:5000", "MLFLOW_TRACKING_PASSWORD"),
        ("https://me:hunter2@host", "MLFLOW_TRACKING_PASSWORD"),
        ("postgresql://me:hunter2@host/db", "PGPASSWORD"),
        ("postgresql+psycopg2://host/db?user=me&password=hunter2", "PGPASSWORD"),
        ("mysql+pymysql://me:hunter2@host/db", "tracking=server"),
    ],
)
def test_a_password_in_a_tracking_uri_is_refused_and_not_repeated(
    compose: Composer, uri: str, remedy: str
) -> None:
    with pytest.raises(ConfigError, match=remedy) as refused:
        Config.of(compose([f"tracking.uri='{uri}'"]))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("group", GROUPS)
def test_conf_files_and_schemas_name_the_same_variants(group: str) -> None:
    assert {path.stem for path in (CONF / group).glob("*.yaml")} == set(GROUPS[group])


OTHER_THAN_DEFAULT = {
    "data/synthetic": {"examples"},
    "data/python_source": {"max_examples", "max_length"},
    "data/text": {"max_examples"},
    "data/ud_english_ewt": {"max_examples"},
    "measure/default": {"window_examples"},
    "measure/off": {"name", "timing", "correctness_batches"},
    "optimizer/adam": {"learning_rate"},
    "optimizer/adamw": {"learning_rate"},
    "optimizer/adagrad": {"learning_rate"},
    "optimizer/momentum": {"learning_rate"},
    "optimizer/sgd": {"learning_rate"},
    "scale/full": {"examples", "sweep_examples", "sweep_length", "sweep_epochs", "requeue", "epochs"},
    "tracking/server": {"name", "uri", "artifacts"},
    "training/default": {"epochs"},
}
"""What conf/ sets: a size that follows scale, or what makes one conf file of a class another than its sibling."""


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, schemas in GROUPS.items() for n in schemas])
def test_a_conf_file_shows_every_option_of_its_schema_and_its_default(group: str, name: str) -> None:
    schema = GROUPS[group][name]
    shown = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    assert isinstance(shown, dict)
    assert set(shown) == {field.name for field in dataclasses.fields(schema)}
    defaults, _ = check(schema, {})
    said = {key for key, value in check(schema, shown)[0].items() if value != defaults[key]}
    unsaid = {VARIANT_KEY.get(group, "name")} if defaults[VARIANT_KEY.get(group, "name")] is None else set()
    assert said - unsaid == OTHER_THAN_DEFAULT.get(f"{group}/{name}", set())


@pytest.mark.parametrize(("section", "schema"), SECTIONS.items())
def test_the_sections_of_config_yaml_show_every_option_and_its_default(section: str, schema: type) -> None:
    shown = yaml.safe_load((CONF / "config.yaml").read_text())[section]
    assert {**shown, "requeue": 0} == {**check(schema, {})[0], "requeue": 0}


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, schemas in GROUPS.items() for n in schemas])
def test_every_variant_composes_with_the_defaults(compose: Composer, group: str, name: str) -> None:
    more = {
        "tfrecord": ["data.path=somewhere"],
        "text": ["data.path=somewhere"],
        "custom": ["cell.target=keras.layers:GRUCell"],
        "static": ["padding=global"],
        "sign": ["data.first_class=1"],
    }
    assert problems(compose([f"{group}={name}", *more.get(name, [])])) == []


LARGE = ("cell_ablation", "padding_ablation", "sequence_length_ablation", "unroll_ablation")
"""Of many arms; tests/commands/test_command.py lists one of them."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(one, marks=pytest.mark.slow) if one in LARGE else one
        for one in experiments()
        if one != "guide"
    ],
)
def test_every_experiment_composes_and_is_a_sweep_where_it_has_claims(compose: Composer, name: str) -> None:
    grid = expand(compose, [f"+experiment={name}"])
    assert (len(grid.arms) > 1) == (grid.base["sweep"]["claims"] is not None)
    assert grid.base["name"] == name


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_opens_with_its_question_command_minutes_and_what_was_found(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    lines = text.splitlines()[1:4]
    heads = f"Command:  python -m workbench +experiment={name} -m", "Took:     ", "Found:    "
    assert all(line.startswith(f"# {head}") for line, head in zip(lines, heads, strict=True))
    machine = re.search(r"\d+ minutes on a 2-core ([A-Z]\w+ [A-Z]\w+)", lines[1])
    has_run = results_folder(name).exists()
    assert machine or (not has_run and lines[1].endswith("not yet")), f"{lines[1]}: no minutes and machine"
    if machine and (facts := results_folder(name) / "facts.json").is_file():
        assert machine[1] in json.loads(facts.read_text())["machine"].replace("(R)", "")
    question = yaml.safe_load(text)["sweep"]["question"]
    assert question.endswith(("?", "."))
    assert "?" in question


REFUSED = [
    (
        ["data.over_length=split", "data.max_length=null"],
        "data.over_length=split: does nothing without data.max_length",
    ),
    (
        ["padding=bucket", "padding.boundaries=[5,10]", "padding.buckets=8"],
        "padding.buckets=8: does nothing beside padding.boundaries",
    ),
    (["cell.variational=true"], "cell.variational=true: does nothing without dropout"),
    (
        ["rnn=keras", "rnn.use_cudnn=true", "cell=ugrnn"],
        "rnn.use_cudnn=true: cuDNN does not have this cell: it has lstm",
    ),
    (
        ["rnn=keras", "rnn.use_cudnn=true", "training.deterministic=true"],
        "rnn.use_cudnn=true: cuDNN gives no equal bits twice",
    ),
    (["training.epochs=0"], "training.epochs=0: must be at least 1"),
    (["training.epochs=two"], "training.epochs=two: must be a whole number"),
    (["training.epochs=1.5"], "training.epochs=1.5: must be a whole number"),
    (["training.epochs=true"], "training.epochs=true: must be a whole number"),
    (["+training.epoch=3"], "training.epoch=3: no such key; did you mean training.epochs?"),
    (["+trainin.epochs=3"], "trainin={'epochs': 3}: no such key; did you mean training?"),
    (["data.validation_share=0"], "data.validation_share=0.0: must be more than 0"),
    (["data.validation_share=nan"], "data.validation_share=nan: must be a finite number"),
    (["rnn.direction=forwards"], "must be one of forward, backward, both; did you mean forward?"),
    (["cell.name=lstmm"], "cell.name=lstmm: must be one of"),
    (["rnn=static"], "a new graph for every length; take padding=global"),
    (
        ["rnn=packed", "rnn.kernel=xla", "cell.attention_length=3"],
        "xla: a cell with attention is not in one-step",
    ),
    (
        ["rnn=packed", "rnn.kernel=plain", "cell.state_keep_prob=0.5"],
        "a cell whose states are dropped is not in",
    ),
    (
        ["rnn=packed", "rnn.kernel=xla", "cell=layer_norm_lstm", "cell.dropout_keep_prob=0.5"],
        "cell=layer_norm_lstm with cell.dropout_keep_prob under 1 is not in one-step form",
    ),
    (["rnn=packed", "rnn.kernel=plain", "cell=lstm_block"], "rnn.kernel=plain: cell=lstm_block is not in"),
    (["rnn=packed", "rnn.kernel=tiles", "cell=gru_block"], "rnn.kernel=tiles: cell=gru_block is not in"),
    (
        ["rnn=packed", "rnn.batch_size=16"],
        "rnn.batch_size=16: is to be the most examples of a batch, and data.batch_size=32: give that or more",
    ),
    (
        ["rnn=packed", "rnn.batch_size=64", "padding.token_budget=500"],
        "rnn.batch_size=64: is to be the most examples of a batch, which padding.token_budget=500 may have",
    ),
    (["loss=sign"], "class 0 is in use"),
    (["loss.class_weights=balance"], "loss.class_weights=balance: must be balanced, a mapping of labels"),
    (["loss.class_weights={name: -1}"], "-1 is no weight: each must be a number of at least 0"),
    (["loss.class_weights={name: many}"], "many is no weight"),
    (["loss.class_weights={}"], "is empty: give a weight for some label, or null"),
    (["loss.class_weights=[0,0]"], "all are 0: no label would count"),
    (["loss.class_weights=[1,true]"], "must be a list, each a number or a mapping or text or null"),
    (
        ["cell=grid_lstm", "cell.couple_gates=true", "cell.forget_bias=0"],
        "cell.forget_bias=0.0: does nothing with cell.couple_gates=true",
    ),
    (["cell=grid_lstm", "cell.frequency_skip=2"], "cell.frequency_skip=2: does nothing without"),
    (["cell.proj_clip=0.5"], "cell.proj_clip=0.5: clips a projection; set cell.num_proj too"),
    (["padding=bucket", "padding.boundaries=[9,5]"], "padding.boundaries=[9, 5]: must be rising lengths"),
    (
        ["data=tfrecord"],
        "data.path=null: data=tfrecord needs a value here: the folder that holds manifest.json",
    ),
    (["data=text"], "data.path=null: data=text needs a value here: a file, or a folder of *.txt"),
    (["data.task=next", "rnn.direction=both"], "has read the token that it is to predict"),
    (["training.truncate=5", "rnn.direction=both"], "training.truncate=5: carries the state forward"),
    (["training.truncate=5", "data=synthetic", "data.task=classify"], "needs a label a step"),
    (["training.truncate=5", "loss.average=example"], "has parts of examples in a chunk"),
    (
        ["training.truncate=5", "training.strategy=mirrored", "training.workers=2", "data.shards=2"],
        "training.truncate=5: is for one replica",
    ),
    (["data=synthetic", "data.minimum=200"], "data.minimum=200: must be at most data.longest=100"),
    (["~cell"], "cell=null: this group is missing"),
    (["training.workers=2"], "training.workers=2: a run without a strategy has one"),
    (
        ["training.keep=best", "training.epochs=3", "training.validate_every=null"],
        "training.keep=best: goes by evaluations while training, and training.validate_every=null has none",
    ),
    (
        ["training.patience=2", "training.epochs=3", "training.validate_every=null"],
        "training.patience=2: goes by evaluations while training",
    ),
    (
        ["training.keep=last", "training.strategy=mirrored", "training.workers=2"],
        "training.keep=last: is for one replica, and training.strategy=mirrored has several",
    ),
    (
        ["training.patience=2", "training.strategy=multi_worker", "training.workers=2"],
        "training.patience=2: is for one replica",
    ),
    *(
        (
            [f"training.checkpoint_every={every}"],
            f"training.checkpoint_every={every}: must be a whole number of epochs, 1 or more, or seconds",
        )
        for every in ("0", "-3", "5m", "0s", "often")
    ),
    (
        ["training.checkpoint_every=true"],
        "training.checkpoint_every=true: must be a whole number or text or null",
    ),
    (
        ["training.checkpoint_every=1.5"],
        "training.checkpoint_every=1.5: must be a whole number or text or null",
    ),
    (
        [
            "training.checkpoint_every=60s",
            "training.strategy=mirrored",
            "training.workers=2",
            "data.shards=2",
        ],
        "training.checkpoint_every=60s: is for one replica, and training.strategy=mirrored has several",
    ),
    (
        ["training.strategy=mirrored"],
        "training.workers=1: training.strategy=mirrored divides a batch among two",
    ),
    (
        ["training.strategy=mirrored", "training.workers=3", "data.shards=3"],
        "data.batch_size=32: is that of all",
    ),
    (
        ["training.strategy=multi_worker", "training.workers=4"],
        "data.shards=2: each of training.workers=4 reads",
    ),
    (
        ["training.strategy=mirrored", "training.workers=2", "rnn=static", "rnn.allow_retrace=true"],
        "a static RNN would need a graph for each pair; take padding=global",
    ),
]


@pytest.mark.parametrize(("overrides", "words"), REFUSED)
def test_what_cannot_run_is_refused_with_key_value_and_remedy(
    compose: Composer, overrides: list[str], words: str
) -> None:
    assert any(words in str(problem) for problem in problems(compose(overrides)))


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.keep=best"],  # of one epoch, that one
        ["training.keep=last", "training.epochs=3", "training.validate_every=null"],
        ["training.keep=best", "training.epochs=3", "training.patience=1", "training.best_by=accuracy"],
        # evaluating on the way is for several replicas too
        ["training.epochs=3", "training.strategy=mirrored", "training.workers=2"],
    ],
)
def test_what_can_be_kept_and_ended_early_is_taken(compose: Composer, overrides: list[str]) -> None:
    assert problems(compose(overrides)) == []


@pytest.mark.slow
def test_no_experiment_that_compares_what_a_clock_measures_evaluates_on_the_way(compose: Composer) -> None:
    timed = [name for name in experiments() if name.endswith("_ablation") or name == "controls"]
    assert len(timed) > 6
    for name in timed:
        arms = expand(compose, [f"+experiment={name}"]).arms
        assert {tree["training"]["validate_every"] for tree in arms.values()} == {None}, name


def test_what_acts_around_a_cell_leaves_it_every_packed_kernel(compose: Composer) -> None:
    around = ["cell.residual=true", "cell.layers=2", "cell.input_keep_prob=0.5", "cell.output_keep_prob=0.5"]
    assert not problems(compose(["rnn=packed", "rnn.kernel=xla", *around]))


def test_a_cell_of_ones_own_may_be_in_one_step_form(compose: Composer) -> None:
    own = ["cell=custom", "cell.target=keras.layers:LSTMCell"]
    assert problems(compose(["rnn=packed", "rnn.kernel=plain", *own])) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.epoch=3"], "training.epoch=3: no such key; did you mean training.epochs?"),
        (["cell=lstmm"], "cell=lstmm: must be one of"),
        (["+experiment=padding_ablatoin"], "did you mean padding_ablation?"),
        (["cell=gru", "cell.use_peepholes=true"], "no such key; cell=gru is chosen"),
        (
            ["cell=custom", "cell.options={size: 3}"],
            "it is there, but holds no such entry yet; +cell.options={size: 3} adds it",
        ),
        (["seed"], "missing EQUAL"),
        (["data.max_examples=${nowhere.at_all}"], "nowhere"),
    ],
)
def test_what_hydra_refuses_names_key_and_value(compose: Composer, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(overrides)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("cell=basic_lstm", "basic_lstm is cell=lstm, with cell.forget_bias=1.0 as by default"),
        ("cell=tf.nn.rnn_cell.BasicLSTMCell", "BasicLSTMCell is cell=lstm, with"),
        ("cell=gru_cell", "gru_cell is cell=gru"),
        ("cell=GridLSTMCell", "GridLSTMCell is cell=grid_lstm"),
        ("cell=MultiRNNCell", "MultiRNNCell is cell.layers=4"),
        ("cell=SRUCell", "SRUCell is not here: run a class of yours by cell=custom"),
        ("model.dtype=float16", "float16 is not here: take mixed_bfloat16, which computes in 16 bits"),
        ("model.dtype=Float64", "Float64 is model.dtype=float64"),
        ("rnn=bidirectional_dynamic_rnn", "is rnn=dynamic rnn.direction=both"),
        ("cell.variational_recurrent=true", "it is cell.variational here"),
        ("+cell.num_units=8", "cell.num_units=8: no such key; it is cell.units here"),
        ("+rnn.swap_memory=true", "there is none: TensorFlow 2 ignores it"),
    ],
)
def test_former_names_are_explained(compose: Composer, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Config.of(compose([override]))
    assert words in str(refused.value)


def test_former_names_name_what_there_is() -> None:
    fields = {
        group: {field.name for schema in schemas.values() for field in dataclasses.fields(schema)}
        for group, schemas in GROUPS.items()
    }
    for group, words in [
        (g, w) for table in (_NAMES, _OPTIONS) for g, t in table.items() for w in t.values()
    ]:
        assert group in ("cell", "rnn", "model.dtype")
        for name, value in re.findall(r"\b(cell|rnn)=(\w+)", words):
            assert value in GROUPS[name], words
        for name, key in re.findall(r"(?<![\w.])(cell|rnn|model|training)\.(\w+)", words):
            assert key in fields[name], words
    assert not {plain for plain in _NAMES["cell"] if plain in {n.replace("_", "") for n in GROUPS["cell"]}}


def test_every_problem_is_named_at_once(compose: Composer) -> None:
    found = problems(compose(["training.epochs=0", "data.batch_size=-1", "seed=-5"]))
    assert {problem.key for problem in found} == {"training.epochs", "data.batch_size", "seed"}


def test_a_typo_in_an_experiment_file_is_refused(tmp_path) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text("# @package _global_\nname: mine\ntrainig: {epochs: 3}\n")
    with pytest.raises(ConfigError, match="did you mean training"):
        expand(Composer([str(tmp_path)]), ["+experiment=mine"])


def test_defaults_are_filled_in_and_survive_a_second_check(compose: Composer) -> None:
    once, _ = load(compose([]))
    twice, wrong = load(once)
    assert wrong == []
    assert once == twice
    assert flatten(once)["cell.units"] == 64


def test_whole_numbers_are_taken_where_numbers_are_asked_for(compose: Composer) -> None:
    assert Config.of(compose(["optimizer.learning_rate=1"])).optimizer.learning_rate == 1.0


def test_sweep_overrides_are_told_from_lists_and_quoted_commas() -> None:
    given = read(["a=1,2", "b=[1,2]", "c='x,y'", "+d=choice(3,4)"])
    assert plain(given) == ["b=[1,2]", "c='x,y'"]
    assert {one.key: one.words for one in swept(given)} == {"a": ("a=1", "a=2"), "d": ("+d=3", "+d=4")}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["cell=custom"], "cell.target=null: cell=custom needs module:Class"),
        (["cell.residual=true", "cell.units=32"], "cell.units=32: with cell.residual=true inputs are added"),
        (
            ["cell.residual=true", "cell.num_proj=8"],
            "cell.num_proj=8: with cell.residual=true inputs are added",
        ),
        (
            ["cell.residual=true", "model.layers=2", "rnn.direction=both"],
            "model.layers=2: with cell.residual=true",
        ),
        (["cell.attention_size=4"], "cell.attention_size=4: is of no use without cell.attention_length"),
        (
            ["rnn=cudnn", "training.device=cpu"],
            "cuDNN runs on a GPU only; take training.device=gpu, or rnn=packed",
        ),
        (
            ["rnn=cudnn", "cell=gru"],
            "its gru is the one of cell.reset_after=true; take rnn=packed or rnn=keras",
        ),
        (
            ["rnn=cudnn", "training.deterministic=true"],
            "(its op CudnnRNNV3) gives no equal bits",
        ),
        (["rnn=cudnn", "cell=ugrnn"], "it has lstm and gru only"),
        (["rnn=cudnn", "cell.cell_clip=1"], "no peepholes, clipping or projection"),
        (["rnn=cudnn", "cell.output_keep_prob=0.5"], "it takes no wrapped cell"),
        (
            ["rnn=keras", "cell.output_keep_prob=0.5", "cell.variational=true"],
            "cell.variational=true: one dropout mask for all steps cannot be under rnn=keras",
        ),
        (["cell=lstm_block", "model.dtype=float64"], "has no float64 kernel; take float32, or cell=lstm"),
        (
            ["cell=gru_block", "model.dtype=mixed_bfloat16"],
            "has no mixed_bfloat16 kernel; take float32, or cell=gru",
        ),
        (["rnn=cudnn", "model.dtype=mixed_bfloat16"], "but not in bfloat16; take rnn=packed or rnn=keras"),
        (["model.dtype=mixed_float16"], "must be one of float32, float64, mixed_bfloat16"),
    ],
)
def test_combinations_of_cells_are_checked(compose: Composer, overrides: list[str], words: str) -> None:
    assert any(words in str(problem) for problem in problems(compose(overrides)))
