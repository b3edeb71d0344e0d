"""make_golden.py: what a trained model says, by the numpy reference alone.

    python3 tests/reference/make_golden.py make MODEL.gguf TEXTS GOLDEN.json
    python3 tests/reference/make_golden.py check MODEL.gguf GOLDEN.json

TEXTS: held-out texts, parted by lines of =====; the first EXCERPTS of them are scored. The golden has
the form of ../shared/golden/tales-27m.json:

    prompts   text, or messages (a conversation) and text as the model's own template writes it;
              tokens (BOS first); last_top: the ten best [id, logit] after the last token; logit_l2: the
              length of all logits there; greedy: the tokens that follow, to the first end token
              (included) or STEPS; greedy_margin: best logit minus second at each; answer: their text
    nll       text, tokens, nll of each token but the first in nats, mean; nll_bound: how far a mean
              may be off, and three fifths of it the mean of all (../shared/golden/README.md)

Templates are run by Jinja itself. `check` computes all of it again, the greedy tokens in one pass
over prompt and answer, and compares those with a margin of 0.5. Last line "N passed, M failed". Needs numpy and jinja2.
"""
import json
import os
import sys

import jinja2
import numpy as np

from bpe import Bpe
from model import Model

STEPS, EXCERPTS = 40, 2
# Rounding noise of 1e-7 on the embeddings moved the means by up to 0.00024 nats (fables-27m, 6 stories).
NLL_BOUND = 0.002
# Where prompts are cut, a fable's names and places are open; one with a name is told on for long.
PROMPTS = ("Once upon a time",
           "Once upon a time, a shy hedgehog called Hazel lived in a deep forest.",
           "There was once a young mouse called Pip. She had never seen the sea.",
           "\"It's 10 past 7,\" said the OLD clock...\n\nNobody had asked it.")
TALKS = (
    [("user", "What is the capital of France?")],
    [("user", "Tell me a story about a brave moth."), ("assistant", 3), ("user", "What is the moral?")],
    [("system", "You are a storyteller."), ("user", "Hello!"),
     ("assistant", "Hello! Would you like to hear a story?"),
     ("user", "A story about a boastful ferret!"), ("assistant", 5), ("user", "Who won the race?")],
)  # a number: that text of TEXTS


def render(template, messages):
    """As Hugging Face sets Jinja up."""
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return env.from_string(template).render(messages=messages, add_generation_prompt=True)


def margins(logits):
    top = np.sort(logits, axis=-1)
    return top[..., -1] - top[..., -2]


def rounded(x):
    return [round(float(v), 4) for v in x]


def after(model, tokens):
    """What a golden says of the logits [V] after the last token."""
    x = model.run(tokens)[0][-1]
    best = np.argsort(-x, kind="stable")[:10]
    return {"last_top": [[int(i), round(float(x[i]), 4)] for i in best],
            "logit_l2": round(float(np.sqrt(np.sum(x.astype(np.float64) ** 2))), 3)}


def greedy(model, bpe, tokens, guess):
    """Jacobi decoding: one pass gives the best token behind each prefix of a guess; those are the next
    guess, until nothing changes. At least one more is right each time, whatever the first guess was."""
    while True:
        x = model.run(tokens + guess)[0][len(tokens) - 1:]
        said = np.argmax(x, axis=1).tolist()
        end = next((i + 1 for i, t in enumerate(said) if t in bpe.ends), STEPS)
        said = said[:min(end, STEPS)]
        if said == guess[:len(said)]:
            return {"greedy": said, "greedy_margin": rounded(margins(x)[:len(said)]),
                    "answer": bpe.decode(said)}
        guess = said


def nll(model, tokens):
    x = model.run(tokens)[0][:-1].astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(x)), tokens[1:]]


def make(path, texts_path, golden_path):
    model = Model(path)
    bpe = Bpe(model.file)
    with open(texts_path) as f:
        texts = f.read().rstrip("\n").split("\n=====\n")
    guesses = {}
    if os.path.exists(golden_path):
        with open(golden_path) as f:
            guesses = {p["text"]: p["greedy"] for p in json.load(f)["prompts"]}
    prompts = [{"text": p, "tokens": bpe.encode(p)} for p in PROMPTS]
    for talk in TALKS:
        messages = [{"role": r, "content": texts[c] if isinstance(c, int) else c} for r, c in talk]
        text = render(model.file.keys["tokenizer.chat_template"], messages)
        prompts.append({"messages": messages, "text": text, "tokens": bpe.encode(text, special=True)})
    for p in prompts:
        p.update(after(model, p["tokens"]))
        p.update(greedy(model, bpe, p["tokens"], guesses.get(p["text"], [])))
        print(p["answer"], p["greedy_margin"], flush=True)
    excerpts = []
    for text in texts[:EXCERPTS]:
        tokens = bpe.encode(text)
        each = nll(model, tokens)
        excerpts.append({"text": text, "tokens": tokens, "nll": rounded(each),
                         "mean": round(float(each.mean()), 6)})
    with open(golden_path, "w") as f:
        json.dump({"bos": bpe.bos, "nll_bound": NLL_BOUND, "prompts": prompts, "nll": excerpts}, f)
        f.write("\n")


def check(path, golden_path):
    model = Model(path)
    bpe = Bpe(model.file)
    with open(golden_path) as f:
        golden = json.load(f)
    results = []

    def verdict(ok, what):
        results.append(ok)
        print(what if ok else what + "  FAILED")

    for p in golden["prompts"]:
        tokens, said = p["tokens"], p["greedy"]
        if "messages" in p:
            text = render(model.file.keys["tokenizer.chat_template"], p["messages"])
            verdict(text == p["text"], "template: %r" % text[-40:])
        verdict(tokens == bpe.encode(p["text"], special="messages" in p), "tokens: %d" % len(tokens))
        x = model.run(tokens + said[:-1])[0][len(tokens) - 1:]
        sure = [i for i, margin in enumerate(p["greedy_margin"]) if margin >= 0.5]
        verdict(all(np.argmax(x[i]) == said[i] for i in sure), "greedy: %d of %d" % (len(sure), len(said)))
        off = max(abs(x[0][i] - logit) for i, logit in p["last_top"]) / np.std(x[0])
        verdict(off < 0.4, "logits: off by %.5f sd" % off)
    for e in golden["nll"]:
        off = nll(model, e["tokens"]).mean() - e["mean"]
        verdict(e["tokens"] == bpe.encode(e["text"]) and abs(off) < golden["nll_bound"],
                "NLL: %.5f, off by %.6f" % (e["mean"], off))
    print("%d passed, %d failed" % (sum(results), len(results) - sum(results)))
    return not all(results)


if __name__ == "__main__":
    sys.exit({"make": make, "check": check}[sys.argv[1]](*sys.argv[2:]))
