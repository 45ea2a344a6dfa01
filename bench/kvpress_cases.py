"""Recall cases through the cache compression of kvpress, for a table beside `keyhold eval recall`.

    pip install kvpress torch gguf
    python bench/kvpress_cases.py MODEL CASES.jsonl --length 512 --bytes 10% --half even --presses streaming,snapkv,kvzip

MODEL is a Hugging Face folder or a GGUF file. The whole context is read into a cache of float32, compressed once at its end, and then asked the
question; an answer is right if all of its tokens are the likeliest, the true ones before it given. A part of the bytes is counted as that part of
the slots of a float16 cache. kvpress needs the whole cache before it compresses, and KVzip a second reading: neither has a budget while it reads.
"""

import argparse
import importlib.util
import json
import os
import random
import sys
import tempfile
import time

PRESSES = {
    "streaming": lambda k, ratio: k.StreamingLLMPress(ratio),
    "knorm": lambda k, ratio: k.KnormPress(ratio),
    "keydiff": lambda k, ratio: k.KeyDiffPress(ratio),
    "snapkv": lambda k, ratio: k.SnapKVPress(ratio),
    "tova": lambda k, ratio: k.TOVAPress(ratio),
    "expected": lambda k, ratio: k.ExpectedAttentionPress(ratio, epsilon=1e-2),
    "adakv-expected": lambda k, ratio: k.AdaKVPress(k.ExpectedAttentionPress(ratio, epsilon=1e-2)),
    "kvzip": lambda k, ratio: k.KVzipPress(ratio),
}


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder or a GGUF file")
    parser.add_argument("cases", help="one JSON object a line: context, question, answer, length")
    parser.add_argument("--length", type=int, help="only cases of this length")
    parser.add_argument("--half", choices=("even", "odd"), help="every other line of the file, from the first or second")
    parser.add_argument("--limit", type=int, help="at most so many cases")
    parser.add_argument("--bytes", default="10%", help="part of a dense float16 cache, such as 10%%")
    parser.add_argument("--presses", default="streaming,snapkv,kvzip", help=f"of {', '.join(PRESSES)}")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    unknown = [name for name in given.presses.split(",") if name not in PRESSES]
    if unknown:
        parser.error(f"there is no press {', '.join(unknown)}; there are {', '.join(PRESSES)}")
    try:
        part = float(given.bytes.removesuffix("%")) / 100
    except ValueError:
        part = 0
    if not (given.bytes.endswith("%") and 0 < part < 1):
        parser.error(f"--bytes {given.bytes}: it must be a part such as 10%")
    missing = [name for name in ("torch", "transformers", "kvpress") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}; pip install kvpress torch")
    return given, part


def read_cases(given):
    with open(given.cases, encoding="utf-8") as file:
        cases = [json.loads(line) for line in file if line.strip()]
    if given.half:
        cases = cases[("even", "odd").index(given.half) :: 2]
    chosen = [case for case in cases if given.length in (None, case["length"])][: given.limit]
    if not chosen:
        sys.exit(f"{given.cases} has no cases of length {given.length}")
    return chosen


def load(path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = (path, {})
    if path.endswith(".gguf"):
        where = (os.path.dirname(path) or ".", {"gguf_file": os.path.basename(path)})
    tokenizer = AutoTokenizer.from_pretrained(where[0], **where[1])
    model = AutoModelForCausalLM.from_pretrained(
        where[0], **where[1], dtype=torch.float32, attn_implementation="sdpa"
    ).eval()
    # With a chat template KVzip takes the first tokens of the context for a system prompt, but the cases have none.
    if where[1] or tokenizer.chat_template:
        # KVzip opens the tokenizer again, by the name of the model.
        tokenizer.chat_template = None
        model.config.name_or_path = tempfile.mkdtemp(prefix="kvpress-")
        tokenizer.save_pretrained(model.config.name_or_path)
    return tokenizer, model


def is_recalled(tokenizer, model, press, case):
    import torch
    from transformers import DynamicCache

    ids = lambda text: tokenizer(text, add_special_tokens=False).input_ids
    context = torch.tensor([ids(case["context"])])
    question, answer = ids(case["question"]), ids(case["answer"])
    cache = DynamicCache()
    with torch.no_grad():
        if press is None:
            model.model(input_ids=context, past_key_values=cache)
        else:
            if hasattr(press, "post_init_from_model"):
                press.post_init_from_model(model)
            with press(model):
                model.model(input_ids=context, past_key_values=cache)
        start = context.shape[1]
        rest = torch.tensor([(question + answer)[:-1]])
        positions = torch.arange(start, start + rest.shape[1])[None]
        logits = model(input_ids=rest, past_key_values=cache, position_ids=positions).logits[0, len(question) - 1 :]
    # Presses that mask groups apart leave their masks in the layers.
    for layer in model.model.layers:
        layer.self_attn.masked_key_indices = None
    return bool((logits.argmax(-1) == torch.tensor(answer)).all())


def interval(outcomes):
    """95 %, by 1,000 samples with replacement."""
    draw = random.Random(1)
    means = sorted(sum(draw.choices(outcomes, k=len(outcomes))) / len(outcomes) for _ in range(1000))
    return means[25], means[974]


def main():
    given, part = options()
    cases = read_cases(given)
    import torch

    torch.set_num_threads(given.threads)
    import kvpress

    tokenizer, model = load(given.model)
    print(f"| kvpress | right of {len(cases)} at {given.bytes} of the bytes | recall | seconds a case |\n| --- | --- | --- | --- |", flush=True)
    for name in ["dense", *given.presses.split(",")]:
        press = None if name == "dense" else PRESSES[name](kvpress, 1 - part)
        begin = time.perf_counter()
        outcomes = [is_recalled(tokenizer, model, press, case) for case in cases]
        seconds = (time.perf_counter() - begin) / len(cases)
        low, high = interval(outcomes)
        mean = sum(outcomes) / len(outcomes)
        print(f"| {name} | {sum(outcomes)} | {mean:.0%} ({low:.0%} to {high:.0%}) | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
