"""Writes vectors.json: header blocks by pylsqpack without a dynamic table.

python3 generate.py > vectors.json      # pip install pylsqpack==1.0.0
python3 generate.py ours.json           # checks that pylsqpack reads blocks of ours
"""

import json
import random
import sys

import pylsqpack

if len(sys.argv) > 1:
    for case in json.load(open(sys.argv[1])):
        _, fields = pylsqpack.Decoder(0, 0).feed_header(0, bytes.fromhex(case["wire"]))
        fields = [[name.decode("latin1"), value.decode("latin1")] for name, value in fields]
        assert fields == case["fields"], case
    sys.exit()

random.seed(9204)
NAMES = [b":path", b":status", b":authority", b"accept", b"content-type", b"cookie", b"vary", b"x-a", b"x" * 70]
VALUES = [b"", b"/", b"200", b"*/*", b"text/plain", b"origin", b"0" * 31, bytes(range(256)), b"v" * 300]
cases = []
for _ in range(100):
    fields = []
    for _ in range(random.randint(1, 12)):
        name = random.choice(NAMES) if random.random() < 0.8 else b"n-%d" % random.randrange(50)
        value = random.choice(VALUES) if random.random() < 0.6 else b"value-%d" % random.randrange(300)
        fields.append((name, value))
    encoder = pylsqpack.Encoder()
    encoder.apply_settings(0, 0)
    _, wire = encoder.encode(0, fields)
    # Each byte is one character of Latin-1.
    fields = [[name.decode("latin1"), value.decode("latin1")] for name, value in fields]
    cases.append({"wire": wire.hex(), "fields": fields})
print("[" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "]")
