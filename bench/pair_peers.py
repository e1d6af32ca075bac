"""What others offer for the same work, from the same weights: sentence-transformers and OpenVINO."""

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

Pairs = Sequence[tuple[str, str]]
PairScorer = Callable[[Pairs], npt.NDArray[np.float32]]

warnings.filterwarnings("ignore")  # of the peers' own doing
for _name in ("nncf", "openvino", "sentence_transformers"):
    logging.getLogger(_name).setLevel(logging.ERROR)
set_verbosity_error()
disable_progress_bar()


def cross_encoder(folder: Path, dtype: torch.dtype, batch: int) -> PairScorer:
    """CrossEncoder.predict of sentence-transformers."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), num_labels=1, model_kwargs={"dtype": dtype}, local_files_only=True)
    return lambda pairs: model.predict(list(pairs), batch_size=batch, show_progress_bar=False)


def sentence_encoder(folder: Path, dtype: torch.dtype, batch: int) -> Callable[[list[str]], object]:
    """SentenceTransformer.encode as the folder is set up: mean pooling, unit length."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), model_kwargs={"dtype": dtype}, local_files_only=True)
    return lambda texts: model.encode(texts, batch_size=batch, show_progress_bar=False)


def openvino_int8(folder: Path, calibration: Pairs) -> Callable[[int], PairScorer]:
    """The same cross-encoder in OpenVINO, quantised to int8 by NNCF on ``calibration``; longest pairs first.

    Gives a scorer for each batch size.
    """
    import nncf
    import openvino
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, local_files_only=True).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]

    def inputs(pairs: Pairs) -> dict[str, Any]:
        return dict(tokenizer(list(pairs), padding=True, truncation=True, return_tensors="np"))

    example = {name: torch.from_numpy(values) for name, values in inputs(calibration[:2]).items()}
    shapes = [(name, [-1, -1], np.int64) for name in names]
    converted = openvino.convert_model(model, example_input=example, input=shapes)
    batches = [inputs(calibration[start : start + 8]) for start in range(0, len(calibration), 8)]
    quantised = nncf.quantize(
        converted, nncf.Dataset(batches), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(batches)
    )
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = openvino.Core().compile_model(quantised, "CPU", threads)

    def predict(pairs: Pairs, batch: int) -> npt.NDArray[np.float32]:
        order = np.argsort([-len(user) - len(item) for user, item in pairs], kind="stable")
        scores = np.zeros(len(pairs), np.float32)
        queue = openvino.AsyncInferQueue(compiled)
        queue.set_callback(lambda request, places: scores.__setitem__(places, request.get_output_tensor(0).data[:, 0]))
        for start in range(0, len(pairs), batch):
            places = order[start : start + batch]
            queue.start_async(inputs([pairs[place] for place in places]), places)
        queue.wait_all()
        return scores

    return lambda batch: lambda pairs: predict(pairs, batch)
