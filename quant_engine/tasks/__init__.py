"""Tasks: the data a network is measured on, and the scores."""

from quant_engine.tasks.agreement import Agreement
from quant_engine.tasks.base import SPLITS, Batch, Logits, LogitsTask, Result, Task
from quant_engine.tasks.classification import Classification
from quant_engine.tasks.comparison import Comparison, cross_entropy, divergence, log_softmax
from quant_engine.tasks.data_files import read_task
from quant_engine.tasks.next_token import NextToken
from quant_engine.tasks.retrieval import Retrieval, mean_pool
from quant_engine.tasks.samples import take
from quant_engine.tasks.score import Accuracy, Score
from quant_engine.tasks.transcription import Transcription, ctc_decode
from quant_engine.tasks.user_file import from_file

__all__ = [
    "SPLITS",
    "Accuracy",
    "Agreement",
    "Batch",
    "Classification",
    "Comparison",
    "Logits",
    "LogitsTask",
    "NextToken",
    "Result",
    "Retrieval",
    "Score",
    "Task",
    "Transcription",
    "cross_entropy",
    "ctc_decode",
    "divergence",
    "from_file",
    "log_softmax",
    "mean_pool",
    "read_task",
    "take",
]
