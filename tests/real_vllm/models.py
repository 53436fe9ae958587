"""Makes a tiny target and a tiny drafter, both trained. Run inside vLLM's environment: `python models.py FOLDER`.

No model hub is needed: the text is Python's own standard library. Acceptance has to be real, so the target is
trained on that text and the drafter on the target's predictions over the same text, about a minute together.
Seeds and numbers of steps are fixed, so that the pair is the same on every machine up to rounding.
"""

import math
import os
import sys
import sysconfig
import time
from pathlib import Path
from typing import Final

os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY: Final = 1024
FILES: Final = 40
"""Modules of the standard library to train on; few, because a minute does not suffice for many."""
SEQUENCES: Final = 16
TOKENS: Final = 64
TARGET_STEPS: Final = 160
DRAFTER_STEPS: Final = 150
THREADS: Final = 1
"""Two are a third faster on an idle machine and ten times slower on a busy one, where they wait for each other."""


def main(folder: Path) -> None:
    """Train both and save them as `folder/target` and `folder/drafter`."""
    torch.set_num_threads(THREADS)
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:FILES]
    tokenizer = tokenizer_of(files)
    text = "".join(file.read_text("utf-8", errors="replace") for file in files)
    tokens = torch.tensor(tokenizer.encode(text))
    target = untrained(layers=4, width=256, heads=4, seed=0)
    train(target, tokens, steps=TARGET_STEPS, rate=4e-3, name="target")
    drafter = untrained(layers=1, width=128, heads=2, seed=1)
    train(drafter, tokens, steps=DRAFTER_STEPS, rate=8e-3, name="drafter", teacher=target)
    for name, model in (("target", target), ("drafter", drafter)):
        model.to(torch.bfloat16).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def tokenizer_of(files: list[Path]) -> PreTrainedTokenizerFast:
    """Byte-level pairs learnt from these files."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(file) for file in files], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def untrained(*, layers: int, width: int, heads: int, seed: int) -> LlamaForCausalLM:
    """A Llama whose layers begin as the identity: deep and shallow ones then learn at the same high rate."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=2048,
            bos_token_id=1,
            eos_token_id=2,
            tie_word_embeddings=False,
            initializer_range=0.05,
        )
    )
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return model


def train(
    model: LlamaForCausalLM,
    tokens: torch.Tensor,
    *,
    steps: int,
    rate: float,
    name: str,
    teacher: LlamaForCausalLM | None = None,
) -> None:
    """Learn the next token, or what the teacher expects of it, on random pieces of the text."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_and_decay(step / steps))
    started = time.monotonic()
    for step in range(1, steps + 1):
        starts = torch.randint(len(tokens) - TOKENS - 1, (SEQUENCES,), generator=generator).tolist()
        pieces = torch.stack([tokens[start : start + TOKENS + 1] for start in starts])
        read, expected = pieces[:, :-1], pieces[:, 1:].flatten()
        if teacher is not None:
            with torch.no_grad():
                expected = functional.softmax(teacher(read).logits, dim=-1).flatten(0, 1)
        loss = functional.cross_entropy(model(read).logits.flatten(0, 1), expected)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps:
            seconds = time.monotonic() - started
            sys.stdout.write(f"{name}: step {step} of {steps}, loss {loss.item():.2f}, {seconds:.0f} s\n")
            sys.stdout.flush()


def warm_up_and_decay(progress: float) -> float:
    """The learning rate over its peak: up over the first tenth, then down along a cosine."""
    if progress < 0.1:
        return 0.05 + 0.95 * progress / 0.1
    return 0.5 * (1 + math.cos(math.pi * (progress - 0.1) / 0.9))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
