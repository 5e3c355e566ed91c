"""Writes generated.json: header blocks by the Python package hpack, with fields of every kind.

python3 generate.py > generated.json    # pip install hpack==4.2.0
"""

import json
import random

from hpack import Encoder, HeaderTuple, NeverIndexedHeaderTuple

random.seed(7541)
NAMES = [b"accept", b"user-agent", b"x-a", b"x-bb", b"date", b"cookie", b"set-cookie", b":path", b":status", b"x" * 70]
VALUES = [b"", b"a", b"gzip, deflate", b"0" * 31, bytes(range(256)), b"\xff" * 9, b"v" * 300]


def field():
    name = random.choice(NAMES) if random.random() < 0.8 else b"n-%d" % random.randrange(50)
    value = random.choice(VALUES) if random.random() < 0.4 else b"value-%d" % random.randrange(30)
    if random.random() < 0.005:
        value = b"w" * 5000
    kind = NeverIndexedHeaderTuple if random.random() < 0.1 else HeaderTuple
    return kind(name, value)


encoder = Encoder()
cases = []
for seqno in range(100):
    case = {"seqno": seqno}
    if random.random() < 0.1:
        for _ in range(random.randint(1, 3)):
            encoder.header_table_size = size = random.choice([0, 60, 100, 1000, 4096])
        case["header_table_size"] = size
    fields = [field() for _ in range(random.randint(0, 12))]
    case["wire"] = encoder.encode(fields, huffman=random.random() < 0.8).hex()
    # Each byte is one character of Latin-1.
    case["headers"] = [{f[0].decode("latin1"): f[1].decode("latin1")} for f in fields]
    cases.append(case)
print('{"cases": [')
print(",\n".join(json.dumps(case, separators=(",", ":")) for case in cases))
print("]}")
