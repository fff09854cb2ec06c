"""The page on language models: scores and texts are the engine's, and what a model writes is never read as Markdown."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import torch
import transformers
from streamlit.testing.v1 import AppTest
from tokenizers import Tokenizer, models, pre_tokenizers
from typer.testing import CliRunner

from explorer.cli import program
from explorer.given import open_given
from explorer.notation import decibels, short
from explorer.sources import MODELS, Source
from quant_engine import IntFormat, LayerPlan, QuantizationPlan, QuantizerSpec
from quant_engine.network import Network, load
from quant_engine.studies import (
    attention_blocks,
    cache_errors,
    cache_scores,
    residual_stream,
    task_text,
    text_inputs,
    write,
)
from quant_engine.tasks import NextToken
from tests.app.waiting import await_answers

ROOT = pathlib.Path(__file__).parents[2]
WORDS = ["<unk>", "the", "for", "statement", "is", "used", "to", "![x](y)", "`", "<b>", *map(str, range(22))]


@pytest.fixture
def writer(tmp_path: pathlib.Path) -> Network:
    """Return a small Llama with words of its own, as transformers saves it."""
    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=len(WORDS), initializer_range=0.5, **sizes)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    network = load(tmp_path, NextToken(np.arange(64).reshape(8, 8) % len(WORDS)))
    MODELS.add("writer", Source(lambda: network))
    return network


def page(model: str, **link: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "app.py"), default_timeout=60)
    for key, value in {"model": model, **link}.items():
        at.query_params[key] = value
    at.switch_page(str(ROOT / "pages" / "text.py")).run()
    assert not at.exception
    return at


def test_scores_and_texts_are_those_of_the_engine(writer: Network) -> None:
    plan = QuantizationPlan.of(writer.layers(), {"*": LayerPlan(QuantizerSpec(IntFormat(4)))})
    at = page("writer")
    for question in ("scoring", "writing"):
        at.button(key=f"text {question}_begin").click()
        at = await_answers(at.run())
    scores, odds = (table.value for table in at.table)
    [row] = [row for row in scores.to_dict("records") if row["score"] == "same top p"]
    wanted = writer.scores(plan)["same top p"]
    assert next(text for text in list(row.values())[1:] if text).startswith(f"{wanted.value:.3g}")
    prompt = [
        WORDS.index(word) for word in ["<unk>", "for", "statement", "is", "used", "to"]
    ]  # "The" is none of its words
    *_, last = write(writer, plan, prompt, 24)
    assert [text.value for text in at.text] == [
        " ".join(WORDS[token] for token in tokens) for tokens in (last.plain, last.planned)
    ]
    assert all(cell.startswith("`") and cell.endswith("`") for cell in odds["token"])
    assert all(cell.count("`") == 2 for cell in odds["token"])


def test_a_model_that_predicts_no_token_is_told_what_is_needed() -> None:
    at = page("fashion-cnn")
    assert any("smollm2" in info.value for info in at.info)


def test_keys_and_values_of_the_chosen_block_are_those_of_the_engine(writer: Network) -> None:
    at = await_answers(page("writer", text_view="keys and values", text_block="1", text_cache_bits="4"))
    inputs = text_inputs(writer, task_text(writer, "test", 256))
    found = cache_errors(writer, inputs, attention_blocks(writer)[1], 4)
    columns = {
        name: [decibels(getattr(error, name)) for error in found.values()]
        for name in ("key_db", "value_db", "output_db")
    }
    rows = at.table[0].value
    assert [list(rows[column]) for column in rows.columns[1:4]] == list(columns.values())
    assert len(rows.columns) == 5
    at.button(key="text cache scores_begin").click()
    rows = await_answers(at.run()).table[0].value
    wanted = [short(scores["mean KLD"].value) for _, scores in cache_scores(writer, 4)]
    assert list(rows[rows.columns[5]]) == wanted


def test_a_block_beyond_the_last_is_taken_down_to_it(writer: Network) -> None:
    at = await_answers(page("writer", text_view="keys and values", text_block="77"))
    assert at.number_input(key="text_block").value == 1


def test_channels_are_followed_in_the_test_data_or_in_the_prompt(writer: Network) -> None:
    for link, tokens in (({}, task_text(writer, "test", 256)), ({"text_source": "prompt"}, (0, 2, 3, 4, 5, 6))):
        at = await_answers(page("writer", text_view="channels", **link))
        stream = residual_stream(writer, text_inputs(writer, tokens))
        [channel] = stream.leading(1)
        assert any(f"hannel {channel}" in text.value for text in at.markdown)
        assert len(at.text_input) == len(link)


def test_compare_by_commands_names_the_first_token_that_parts_the_texts(
    writer: Network, tmp_path: pathlib.Path
) -> None:
    data, path = tmp_path / "words.txt", tmp_path / "plan.json"
    words = np.random.default_rng(0).integers(1, len(WORDS), 4096)
    data.write_text(" ".join(WORDS[word] for word in words))
    plan = QuantizationPlan.of(writer.layers(), {"*": LayerPlan(QuantizerSpec(IntFormat(3)))})
    plan.save(path)
    ran = [
        CliRunner().invoke(program, ["compare", str(tmp_path), str(path), "--data", str(data), *more])
        for more in (["--json"], [])
    ]
    assert [one.exit_code for one in ran] == [0, 0]
    found, prompt = json.loads(ran[0].stdout)["texts"], task_text(open_given(str(tmp_path), data).network, "test", 16)
    plain = _likeliest(writer.model.module, prompt)
    with writer.patched(plan) as module:
        planned = _likeliest(module, prompt)
    place = next(at for at in range(len(plain)) if plain[at] != planned[at])
    assert (found["place"], found["tokens"]) == (place + 1, [WORDS[plain[place]], WORDS[planned[place]]])
    assert f"part at token {place + 1}: {tmp_path.name} writes {found['tokens'][0]!r}" in ran[1].stdout


def _likeliest(module: torch.nn.Module, prompt: tuple[int, ...]) -> list[int]:
    """Return the 24 tokens after a prompt, each the likeliest, by torch alone."""
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(24):
            tokens.append(int(module(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]
