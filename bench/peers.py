"""What others offer for the same work, from the same weights: sentence-transformers and OpenVINO."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Pairs = Sequence[tuple[str, str]]
PairScorer = Callable[[Pairs], npt.NDArray[np.float32]]

for _name in ("nncf", "openvino", "sentence_transformers", "transformers"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def cross_encoder(folder: Path, dtype: torch.dtype, batch: int) -> PairScorer:
    """CrossEncoder.predict of sentence-transformers."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), num_labels=1, model_kwargs={"dtype": dtype}, local_files_only=True)
    return lambda pairs: model.predict(list(pairs), batch_size=batch, show_progress_bar=False)


def sentence_encoder(folder: Path, dtype: torch.dtype, batch: int) -> Callable[[list[str]], object]:
    """SentenceTransformer.encode with mean pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    words = modules.Transformer(str(folder), model_kwargs={"dtype": dtype, "local_files_only": True})
    model = SentenceTransformer(modules=[words, modules.Pooling(words.get_embedding_dimension()), modules.Normalize()])
    return lambda texts: model.encode(texts, batch_size=batch, show_progress_bar=False)


def openvino_int8(folder: Path, calibration: Pairs, batch: int) -> PairScorer:
    """The same cross-encoder in OpenVINO, quantised to int8 by NNCF on ``calibration``; longest pairs first."""
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

    def predict(pairs: Pairs) -> npt.NDArray[np.float32]:
        order = np.argsort([-len(user) - len(item) for user, item in pairs], kind="stable")
        scores = np.zeros(len(pairs), np.float32)
        queue = openvino.AsyncInferQueue(compiled)
        queue.set_callback(lambda request, places: scores.__setitem__(places, request.get_output_tensor(0).data[:, 0]))
        for start in range(0, len(pairs), batch):
            places = order[start : start + batch]
            queue.start_async(inputs([pairs[place] for place in places]), places)
        queue.wait_all()
        return scores

    return predict


def temporary_copy(folder: Path) -> Path:
    """Copy a model folder, without what its makers' own pipeline adds, so that every library opens the same files."""
    import shutil

    place = Path(mkdtemp(prefix="llmrec-bench-"))
    for path in folder.iterdir():
        if path.is_file() and path.name not in ("modules.json", "sentence_bert_config.json"):
            shutil.copy(path, place)
    return place
