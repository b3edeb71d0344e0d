"""expected_spm.py: the ids of sentencepiece, which stand in expected.json.

    python3 tests/tokenizers/expected_spm.py FOLDER

FOLDER is what make.py wrote. Prints {"name": [[ids of text 0], ...], ...}. Debian: python3-sentencepiece.
"""
import json
import os
import sys

import sentencepiece
from make import MODEL, texts_of

out = {}
for name in sorted(MODEL):
    p = sentencepiece.SentencePieceProcessor()
    p.Load(os.path.join(sys.argv[1], name, "tokenizer.model"))
    out[name] = [p.EncodeAsIds(t) for t in texts_of(name)]
print(json.dumps(out))
