"""Tasks and scores: what they measure against scipy, torch and numpy, and what every task gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

import quant_engine as qe
from quant_engine.network import Accuracy, Network, from_module, load
from quant_engine.studies import effect
from quant_engine.tasks import (
    Agreement,
    Batch,
    Classification,
    NextToken,
    Result,
    Retrieval,
    Score,
    Transcription,
    ctc_decode,
    from_file,
)
from quant_engine.tasks.score import binomial_quantiles, mean, quantile, ratio, share, sqnr
from quant_engine.tasks.transcription import edit_distance
from tests.engine.foreign import Decoder

RNG = np.random.default_rng(12)
W3 = qe.QuantizerSpec(qe.IntFormat(3), qe.PerChannel(0))
A8 = qe.QuantizerSpec(qe.IntFormat(8, signed=False), symmetric=False)


class Tower(torch.nn.Module):
    """Makes an embedding of each token, as encoders do."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.dense = torch.nn.Embedding(20, 6), torch.nn.Linear(6, 6)

    def forward(self, input_ids, attention_mask):
        hidden = self.words(input_ids)
        return {"pooled": hidden.mean(1), "last_hidden_state": hidden + self.dense(hidden)}


class Reader(torch.nn.Module):
    """Reads a character of "ab" or a blank from every column."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = torch.nn.Conv1d(4, 3, 1)

    def forward(self, x):
        return self.columns(x).transpose(1, 2)


class Majority:
    """A task of somebody else's: whether most outputs are positive. Not one class of ours."""

    unit, key, compares, splits = "row", "majority", False, frozenset({"test", "calibration"})

    def __init__(self, inputs):
        self.inputs = inputs

    def count(self, split):
        return len(self.inputs)

    def batches(self, split):
        return [Batch(self.inputs[:5]), Batch(self.inputs[5:])]

    def data(self, split):
        raise qe.QuantError("rows have no labels")

    def scores(self, results):
        right = [row.mean() > 0 for _, outputs, _ in results for row in outputs]
        return {"majority": share("majority", int(sum(right)), len(right))}


def tokens(count, length=9, top=20):
    return RNG.integers(0, top, (count, length))


def masked(count, length=9):
    return {"input_ids": tokens(count, length), "attention_mask": np.ones((count, length), np.int64)}


def user_file(folder):
    path = folder / "score.py"
    path.write_text(
        "import numpy as np\n"
        "unit, better = 'row', 'lower'\n"
        "def batches():\n"
        "    rows = np.random.default_rng(1).standard_normal((80, 4), np.float32)\n"
        "    for i in range(0, 80, 10):\n"
        "        yield rows[i:i + 10], rows[i:i + 10].sum(1)\n"
        "def score(outputs, batch):\n"
        "    rows, sums = batch\n"
        "    return {'distance': np.abs(outputs.sum(1) - sums), 'positive': float((outputs > 0).mean())}\n"
    )
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Every task, on a model of its own kind; the last one is somebody else's."""
    torch.manual_seed(2)
    rows = RNG.standard_normal((40, 4), np.float32)
    mlp = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 7))
    labels = mlp(torch.from_numpy(rows)).argmax(1).numpy()
    lines = RNG.standard_normal((24, 4, 10), np.float32)
    example = {name: torch.from_numpy(array[:1]) for name, array in masked(1).items()}
    pieces = [lines[:10], lines[10:]]
    texts = ["ab" if i % 2 else "b a" for i in range(24)]
    return {
        "classification": from_module(mlp, Classification(rows, labels), torch.ones(1, 4)),
        "next token": from_module(Decoder(20), NextToken(tokens(24)), torch.zeros(1, 9, dtype=torch.int64)),
        "retrieval": from_module(Tower(), Retrieval(masked(16), masked(16, 5)), example),
        "transcription": from_module(
            Reader(),
            Transcription(zip(pieces, (texts[:10], texts[10:]), strict=True), characters="ab"),
            torch.ones(1, 4, 10),
        ),
        "agreement": from_module(mlp, Agreement(rows), torch.ones(1, 4)),
        "file": from_module(mlp, from_file(user_file(tmp_path_factory.mktemp("task"))), torch.ones(1, 4)),
        "foreign": from_module(mlp, Majority(rows), torch.ones(1, 4)),
    }


def check_task(network: Network) -> None:
    """What every task gives, whoever wrote it."""
    task = network.task
    assert task.splits <= {"training", "calibration", "search", "test"}
    assert task.key == task.key
    assert task.unit.isalpha()
    assert all(task.count(split) > 0 for split in task.splits)
    for one, other in zip(task.batches("test"), task.batches("test"), strict=True):
        for first, second in zip(arrays(one.inputs), arrays(other.inputs), strict=True):
            np.testing.assert_array_equal(first, second)
    with pytest.raises(qe.QuantError):
        network.task.data("nowhere")
    last = [name for name, layer in network.layers().items() if layer.op != "embedding" and not layer.tied_to][-1]
    plan = qe.QuantizationPlan({last: qe.LayerPlan(W3, A8)})
    for given in (None, plan):
        scores = network.scores(given)
        for name, score in scores.items():
            low, high = score.interval
            assert (score.name, score.n > 0, score.better in {"higher", "lower"}) == (name, True, True)
            assert math.isnan(low) or low <= score.value <= high
            assert score.samples is None or score.samples.mean() == pytest.approx(score.value, rel=1e-9, abs=1e-12)
            assert name in str(score)
            assert f"{score.n:,}" in str(score)
        first = next(iter(scores.values()))
        assert network.evaluate(given) == first or math.isnan(first.value)
        assert network.scores(given) == scores or any(math.isnan(score.value) for score in scores.values())


def arrays(inputs):
    return list(inputs.values()) if isinstance(inputs, dict) else [inputs]


@pytest.mark.parametrize(
    "kind", ["classification", "next token", "retrieval", "transcription", "agreement", "file", "foreign"]
)
def test_every_task_gives_what_tasks_give(networks, kind):
    check_task(networks[kind])


def test_the_built_in_task_gives_what_tasks_give():
    network = load("fashion-cnn")
    check_task(network)
    assert network.task.unit == "image"
    assert {split: network.task.count(split) for split in network.task.splits} == {
        "training": 6000,
        "calibration": 512,
        "search": 2000,
        "test": 2000,
    }
    assert isinstance(network.evaluate(), Accuracy)


# --- statistics -------------------------------------------------------------------------------------------------------


def test_shares_have_scipys_wilson_interval():
    for count, total in ((0, 5), (1, 1), (1830, 2000), (20, 20), (3, 10_000)):
        expected = scipy.stats.binomtest(count, total).proportion_ci(method="wilson")
        assert share("x", count, total).interval == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert Accuracy(3, 4) == Accuracy(3, 4) != Accuracy(2, 4)
    assert repr(Accuracy(3, 4)) == "Accuracy(correct=3, total=4)"
    for wrong in ((5, 4), (-1, 4), (0, 0), (1.5, 4)):
        with pytest.raises(qe.QuantError, match="must be an integer"):
            Accuracy(*wrong)


def test_means_have_the_interval_of_standard_errors():
    values = RNG.standard_normal(300) + 2
    found = mean("x", values)
    expected = scipy.stats.norm.interval(0.95, values.mean(), scipy.stats.sem(values))
    assert (found.value, *found.interval) == pytest.approx((values.mean(), *expected), rel=1e-12)
    assert math.isnan(mean("x", values[:1]).interval[0])
    assert "not resolved" in str(mean("x", values[:1]))


def test_ranks_are_scipys_binomial_quantiles():
    for n, p in ((20, 0.5), (1001, 0.5), (10_000, 0.999), (250_000, 0.999), (100, 0.9)):
        expected = scipy.stats.binom.ppf([0.025, 0.5, 0.975], n, p)
        assert binomial_quantiles(n, p, (0.025, 0.5, 0.975)) == expected.tolist()


def test_intervals_of_quantiles_hold_them_as_often_as_they_say():
    random = np.random.default_rng(0)
    truth = {0.5: math.log(2), 0.999: -math.log(0.001)}  # of the exponential distribution
    for level, n in ((0.5, 40), (0.999, 10_000)):
        held = 0
        for _ in range(300):
            found = quantile("x", random.exponential(size=n), level)
            held += found.interval[0] <= truth[level] <= found.interval[1]
        assert held >= 0.92 * 300


def test_a_far_quantile_of_few_tokens_is_not_resolved():
    few, enough = (quantile("99.9% KLD", RNG.exponential(size=n), 0.999, "nats") for n in (9_999, 10_000))
    assert math.isnan(few.value)
    assert str(few) == "99.9% KLD not resolved (95 %: not resolved, n = 9,999)"
    assert enough.interval[0] < enough.value < enough.interval[1]


def test_a_ratios_interval_holds_it_as_often_as_it_says():
    random = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        lengths = random.integers(5, 30, 80)
        found = ratio("character error rate", random.binomial(lengths, 0.1).astype(float), lengths.astype(float))
        held += found.interval[0] <= 0.1 <= found.interval[1]
    assert held >= 0.9 * 300


def test_sqnr_is_in_decibels_and_infinite_without_noise():
    signal, noise = np.array([4.0, 6.0, 10.0]), np.array([0.02, 0.1, 0.08])
    found = sqnr(signal, noise)
    assert found.value == pytest.approx(20.0)
    assert found.interval[0] < 20 < found.interval[1]
    assert sqnr(signal, 0 * noise).value == math.inf


# --- each task --------------------------------------------------------------------------------------------------------


def test_classification_is_torchs_cross_entropy_and_top_k():
    logits, labels = RNG.standard_normal((90, 9)).astype(np.float32), RNG.integers(0, 9, 90)
    task = Classification({"test": (np.zeros((90, 2), np.float32), labels)})
    moved = logits + RNG.standard_normal((90, 9)).astype(np.float32) / 3
    parts = [slice(0, 50), slice(50, 90)]
    found = task.scores(Result(Batch(None, labels[part]), moved[part], logits[part]) for part in parts)
    one, other = torch.from_numpy(logits).double(), torch.from_numpy(moved).double()
    loss = torch.nn.functional.cross_entropy(other, torch.from_numpy(labels))
    divergence = torch.nn.functional.kl_div(other.log_softmax(1), one.softmax(1), reduction="batchmean")
    top = (other.topk(5).indices == torch.from_numpy(labels)[:, None]).any(1)
    assert found["accuracy"] == Accuracy(int((moved.argmax(1) == labels).sum()), 90)
    assert found["loss"].value == pytest.approx(loss.item(), rel=1e-12)
    assert found["KL divergence"].value == pytest.approx(divergence.item(), rel=1e-12)
    assert found["top-5 accuracy"].value == pytest.approx(top.double().mean().item())
    assert found["top-1 agreement"].value == pytest.approx((moved.argmax(1) == logits.argmax(1)).mean())
    noise = np.square(moved.astype(float) - logits).sum()
    assert found["SQNR"].value == pytest.approx(10 * np.log10(np.square(logits, dtype=float).sum() / noise), rel=1e-9)


def test_probabilities_at_a_models_end_count_as_their_logarithms():
    plain, other = (scipy.special.softmax(RNG.normal(0, 4, (60, 9)), axis=1) for _ in range(2))
    labels, inputs = RNG.integers(0, 9, 60), np.zeros((60, 2), np.float32)
    expected = scipy.special.rel_entr(plain, other).sum(1).mean()
    for task in (Agreement({"test": inputs}), Classification({"test": (inputs, labels)})):
        found = task.scores([Result(Batch(None, labels), other, plain)])
        assert found["KL divergence"].value == pytest.approx(expected, rel=1e-9)
        tensor = torch.from_numpy(other).requires_grad_()  # as Fisher information takes them
        values = task.logits(Batch(None, labels), tensor).values
        torch.testing.assert_close(values, tensor.log())
        assert values.requires_grad
    assert found["loss"].value == pytest.approx(-np.log(other[np.arange(60), labels]).mean(), rel=1e-9)


def test_a_networks_scores_are_its_effect():
    network = load("fashion-depthwise")
    plan = qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(W3)))
    scores, found = network.scores(plan, "calibration"), effect(network, plan)
    assert scores["accuracy"] == found.score
    assert scores["loss"].value == pytest.approx(found.loss, rel=1e-12)
    assert scores["KL divergence"].value == pytest.approx(found.divergence, rel=1e-9)
    assert scores["SQNR"].value == pytest.approx(found.sqnr_db, rel=1e-6)


@torch.no_grad()
def test_next_token_is_torchs_cross_entropy_of_the_shifted_tokens():
    torch.manual_seed(5)
    ids = tokens(40, 30, 64)
    module = Decoder()
    network = from_module(module, NextToken({"test": ids}), torch.from_numpy(ids[:1]))
    plan = qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(W3)))
    found = network.scores(plan)
    before, after = (torch.from_numpy(network.run(ids, given)).double()[:, :-1] for given in (None, plan))
    targets = torch.from_numpy(ids)[:, 1:]
    losses = [
        torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
        for logits in (before, after)
    ]
    divergences = (before.softmax(2) * (before.log_softmax(2) - after.log_softmax(2))).sum(2).flatten().numpy()
    assert list(found) == [
        "perplexity", "ln(PPL(Q)/PPL(base))", "mean KLD", "median KLD", "99.9% KLD", "same top p",
    ]  # fmt: skip
    assert found["perplexity"].value == pytest.approx(losses[1].mean().exp().item(), rel=1e-9)
    assert found["ln(PPL(Q)/PPL(base))"].value == pytest.approx((losses[1] - losses[0]).mean().item(), rel=1e-6)
    assert found["mean KLD"].value == pytest.approx(divergences.mean(), rel=1e-9)
    assert found["median KLD"].value == pytest.approx(np.median(divergences), rel=1e-9)
    assert math.isnan(found["99.9% KLD"].value)
    same = (before.argmax(2) == after.argmax(2)).double().mean().item()
    assert found["same top p"].value == pytest.approx(same)
    assert {score.n for score in found.values()} == {network.task.count("test")} == {40 * 29}
    assert network.evaluate(plan) == found["perplexity"]
    with pytest.raises(qe.QuantError, match="NextToken has no labels"):
        network.predict()


def test_masked_tokens_do_not_count():
    ids = tokens(3, 6, 5)
    mask = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]])
    task = NextToken({"test": {"input_ids": ids, "attention_mask": mask}})
    logits = RNG.standard_normal((3, 6, 5)).astype(np.float32)
    (batch,) = task.batches("test")
    found = task.scores([Result(batch, {"cache": mask, "logits": logits}, None)])
    log_q = torch.from_numpy(logits).double().log_softmax(2).numpy()
    pairs = [(0, i) for i in range(1, 6)] + [(1, 1), (1, 2)] + [(2, 3), (2, 4), (2, 5)]
    expected = np.exp(-np.mean([log_q[n, i - 1, ids[n, i]] for n, i in pairs]))
    assert found["perplexity"].value == pytest.approx(expected, rel=1e-12)
    assert task.count("test") == found["perplexity"].n == 10


def test_logits_of_a_language_model_are_not_kept():
    alive, most = 0, 0

    class Tracked(np.ndarray):
        def __del__(self):
            nonlocal alive
            alive -= self.base is None

    def results():
        nonlocal alive, most
        for batch in task.batches("test"):
            logits = np.zeros((*batch.inputs.shape, 64), np.float32).view()
            made = np.ndarray.__new__(Tracked, logits.shape, np.float32)
            made[:] = 0
            alive += 1
            most = max(most, alive)
            yield Result(batch, made, None)
            del made

    task = NextToken({"test": tokens(200, 512)})
    assert task.scores(results())["perplexity"].value == pytest.approx(64, rel=1e-6)
    assert len(task.batches("test")) == 100
    assert most <= 2


def test_recall_is_the_share_of_nearest_documents_by_cosine():
    torch.manual_seed(1)
    queries, documents = masked(16), masked(16, 5)
    queries["attention_mask"][:, 6:] = 0
    example = {name: torch.from_numpy(array[:1]) for name, array in queries.items()}
    network = from_module(Tower(), Retrieval({"test": (queries, documents)}), example)
    hidden = [network.run(inputs)["last_hidden_state"].astype(float) for inputs in (queries, documents)]
    asked, answers = hidden[0][:, :6].mean(1), hidden[1].mean(1)
    cosine = 1 - scipy.spatial.distance.cdist(asked, answers, "cosine")
    assert network.evaluate() == share("recall@1", int((cosine.argmax(1) == np.arange(16)).sum()), 16)
    logits, right = torch.from_numpy(20 * cosine), torch.arange(16)
    expected = torch.nn.functional.cross_entropy(logits, right).item()
    assert network.scores()["loss"].value == pytest.approx(expected, rel=1e-6)
    assert network.scores()["KL divergence"].value == 0


def test_texts_are_read_by_ctc_and_compared_by_edits():
    steps = np.array([[1, 1, 0, 1, 2, 2, 0], [0, 3, 3, 0, 0, 2, 1]])
    outputs = np.eye(4, dtype=np.float32)[steps]
    assert ctc_decode(outputs, "ab ") == ["aab", " ba"]
    for one, other, edits in (("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("same", "same", 0)):
        assert edit_distance(one, other) == edit_distance(other, one) == edits
    task = Transcription({"test": (np.zeros((2, 1), np.float32), ["aab ", "bb"])}, characters="ab ")
    found = task.scores([Result(task.batches("test")[0], outputs, outputs)])
    assert (found["exact match"].value, found["same text"].value) == (0.5, 1.0)
    assert found["character error rate"].value == pytest.approx(1 / 5)
    plain, other = (scipy.special.softmax(RNG.normal(0, 2, (2, 7, 4)), axis=2) for _ in range(2))
    for given in ((plain, other), (np.log(plain), np.log(other) + 3)):  # probabilities, or logits
        moved = task.scores([Result(task.batches("test")[0], given[1], given[0])])["KL divergence"]
        assert moved.value == pytest.approx(scipy.special.rel_entr(plain, other).sum(2).mean(), rel=1e-9)
        assert moved.n == 14
    upper = Transcription(
        {"test": (np.zeros((2, 1), np.float32), ["AAB", "BA"])},
        decode=lambda given: [text.upper() for text in ctc_decode(given, "ab ")],
    )
    assert upper.scores([Result(upper.batches("test")[0], outputs, None)])["exact match"].value == 1.0


# --- splits -----------------------------------------------------------------------------------------------------------


def test_one_set_is_split_by_seed_into_disjoint_parts():
    rows = np.arange(83, dtype=np.float32)[:, None]
    batches = [{"x": rows[:30]}, {"x": rows[30:]}]
    for data in (rows, iter(batches), batches):
        task = Agreement(data, seed=3)
        found = {
            split: np.concatenate([arrays(batch.inputs)[0][:, 0] for batch in task.batches(split)]).tolist()
            for split in task.splits
        }
        assert sorted(value for part in found.values() for value in part) == rows[:, 0].tolist()
        assert {split: len(part) for split, part in found.items()} == {"calibration": 20, "search": 20, "test": 43}
    assert Agreement(rows, seed=4).key != Agreement(rows, seed=3).key == Agreement(rows.copy(), seed=3).key
    assert Agreement(rows[:7]).splits == {"test"}


def test_a_key_is_of_the_data_and_their_use():
    rows, labels = np.zeros((8, 2), np.float32), np.arange(8)
    keys = {
        Classification(rows, labels).key,
        Classification(rows, labels[::-1]).key,
        Classification(rows, labels, unit="row").key,
        Classification(rows, labels, output="logits").key,
        Classification(rows + 1, labels).key,
        Agreement(rows).key,
        Agreement({"test": rows}).key,
        Agreement({"calibration": rows}).key,
    }
    assert len(keys) == 8


def test_splits_are_read_when_they_are_needed():
    read = []

    def reader(split):
        return lambda: read.append(split) or (np.zeros((4, 2), np.float32), np.arange(4))

    task = Classification({split: reader(split) for split in ("training", "test")})
    assert task.splits == {"training", "test"}
    assert read == []
    task.data("test")
    assert (task.count("test"), read) == (4, ["test"])


def test_static_activations_are_calibrated_on_the_calibration_split(networks):
    network = networks["agreement"]
    rows = np.concatenate([batch.inputs for batch in network.task.batches("calibration")])
    frozen = network.freeze(qe.QuantizationPlan({"0": qe.LayerPlan(activation=A8)}))
    assert frozen["0"].activation.scale.item() == pytest.approx((rows.max() - rows.min()) / 255, rel=1e-6)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_data_that_are_no_task_are_refused():
    rows, labels = np.zeros((8, 2), np.float32), np.arange(8)
    for make, reason in (
        (lambda: Classification(rows, labels[:5]), r"8 inputs have labels of shape \(5,\)"),
        (lambda: Classification(rows, labels - 1), "labels: -1 at"),
        (lambda: Classification(rows, labels / 2), "is no integer"),
        (lambda: Classification(rows), "not a pair; give"),
        (lambda: Classification(7), r"give \(inputs, labels\)"),
        (lambda: Classification({"test": (rows, labels)}).data("search"), "split='search' is unknown.* test"),
        (lambda: Agreement({"calibration": rows, "test": rows}), "must have no sample in common"),
        (lambda: Agreement({"train": rows, "test": rows + 1}), "split='train' is unknown; choose one of training"),
        (lambda: Agreement(rows, unit=3), "unit=3 is not a str"),
        (lambda: from_module(torch.nn.Sequential(torch.nn.Linear(2, 2)), task=labels), "is not a task"),
        (lambda: Agreement(rows * np.nan), "16 NaN"),
        (lambda: NextToken(rows[:, 0]), r"give integers \(n, length\)"),
        (lambda: NextToken(rows), r"give integers \(n, length\)"),
        (lambda: NextToken({"ids": labels[None]}), "'input_ids'"),
        (lambda: Retrieval(rows, rows[:3]), "8 queries have 3 documents"),
        (lambda: Transcription(rows, ["a"] * 8), "give characters"),
        (lambda: Transcription(rows, ["a"] * 7, characters="a"), "8 inputs have 7 texts"),
        (lambda: Transcription(rows, [" "] * 8, characters="a"), "none empty"),
        (lambda: ctc_decode(np.zeros((1, 2, 5)), "ab"), r"2 characters need \(n, steps, 3\)"),
    ):
        with pytest.raises(qe.QuantError, match=reason):
            make()


def test_a_model_that_does_not_fit_a_task_is_refused():
    mlp = torch.nn.Sequential(torch.nn.Linear(2, 3))
    rows = np.zeros((4, 2), np.float32)
    for task, reason in (
        (Classification({"test": (rows, np.arange(4))}), r"shape \(4, 3\), labels go up to 3"),
        (Retrieval({"test": (rows, rows)}, pool=lambda outputs, inputs: outputs[0]), "pool must return"),
        (Transcription({"test": (rows, ["a"] * 4)}, characters="ab"), r"2 characters need \(n, steps, 3\)"),
        (Transcription({"test": (rows, ["a"] * 4)}, decode=lambda outputs: ["a"]), "1 texts of 4 samples"),
    ):
        with pytest.raises(qe.QuantError, match=reason):
            from_module(mlp, task, torch.zeros(1, 2)).evaluate()


def test_a_file_that_is_no_task_is_refused_with_what_it_lacks(tmp_path):
    mlp = torch.nn.Sequential(torch.nn.Linear(2, 3))
    begin = "import numpy as np\ndef batches(): return [np.zeros((3, 2), np.float32)]\n"
    path = tmp_path / "score.py"
    for text, reason in (
        ("def batches(: pass", "does not run: SyntaxError"),
        ("import nothing_like_this", "does not run: ModuleNotFoundError"),
        (begin, "has no function score; it needs def batches"),
        ("def score(outputs, batch): return 1", "has no function batches"),
        (begin + "better = 'most'\ndef score(outputs, batch): return 1", "better in .* choose one of higher, lower"),
        (begin + "def score(outputs, batch): return 'good'", "are not numbers"),
        (begin + "def score(outputs, batch): return None", "are not numbers"),
        (begin + "def score(outputs, batch): return float('nan')", "must be a finite number"),
        (begin + "def score(outputs, batch): return {}", "returned no number"),
        ("def batches(): return []\ndef score(outputs, batch): return 1", "yielded nothing"),
        ("def batches(): return 3\ndef score(outputs, batch): return 1", "returned a int"),
        ("def batches(): return ['a']\ndef score(outputs, batch): return 1", "quantization takes real values"),
    ):
        path.write_text(text)
        with pytest.raises(qe.QuantError, match=reason):
            from_module(mlp, from_file(path), torch.zeros(1, 2)).evaluate()
    with pytest.raises(qe.QuantError, match="is not a file"):
        from_file(tmp_path / "none.py")


def test_a_users_score_is_the_mean_of_its_numbers(networks):
    network, rows = networks["file"], np.random.default_rng(1).standard_normal((80, 4), np.float32)
    assert network.task.splits == {"calibration", "search", "test"}
    batches = [batch.targets[0] for batch in network.task.batches("test")]
    assert len(batches) == network.task.count("test") == 4
    assert all(any(np.array_equal(batch, rows[i : i + 10]) for i in range(0, 80, 10)) for batch in batches)
    outputs = [network.run(batch) for batch in batches]
    distances = [np.abs(out.sum(1) - batch.sum(1)) for out, batch in zip(outputs, batches, strict=True)]
    found = network.scores()
    assert found["distance"].value == pytest.approx(np.mean(distances), rel=1e-6)
    assert found["distance"].n == 40
    assert found["positive"] == Score(**{**vars(mean("positive", np.array([(o > 0).mean() for o in outputs])))})
    assert found["distance"].better == "lower"
