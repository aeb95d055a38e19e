"""Projections whose workers break the protocol: mutated frames, garbage, a page cut off, floods."""

_COMMON = """
import json, os, random, struct, sys, time
draw = random.Random({seed})
ODD = (None, True, -1, 0, 2**31, 2**63, 2**70, 1e308, float("nan"), "", "x" * 100000, "\\x1b[31m",
       "\\ud800", [], {{}}, [1], {{"a": 1}}, [[[]]])
def mutate(value, depth=0):
    if isinstance(value, dict) and value and draw.random() < 0.8:
        name = draw.choice(list(value))
        if draw.random() < 0.15:
            return {{n: v for n, v in value.items() if n != name}}
        return {{**value, name: mutate(value[name])}}
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        return value[:at] + [mutate(value[at])] + value[at + 1:]
    return draw.choice(ODD)
def garble(data):
    data = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        if not data:
            break
        at = draw.randrange(len(data))
        way = draw.randrange(4)
        if way == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif way == 1:
            del data[at:]
        elif way == 2:
            data[at:at] = draw.choice((b"\\xff" * 8, b"\\x00" * 4, b"[" * 5000, b"NaN", b"\\n", b"\\x1b[31m"))
        else:
            data[at:at + 4] = struct.pack("<I", draw.choice((2**32 - 1, 2**31, 2**26, 0)))
    return bytes(data)
"""
_PROJECTION = (
    _COMMON
    + """
way = draw.choice(("header", "header", "header", "parts", "bytes", "bytes", "garbage", "truncate", "flood", "close"))
after = draw.randrange(3)
seen = [0]
def hostile_send(stream, header, parts=()):
    seen[0] += 1
    if seen[0] > after:
        parts = [bytes(memoryview(part).cast("B")) for part in parts]
        lengths = [len(part) for part in parts]
        header = {{**header, "parts": lengths}}
        if way == "header":
            header = mutate(header)
        if way == "parts":
            parts = [garble(part) for part in parts]
            header["parts"] = [len(part) for part in parts]
        text = json.dumps(header).encode("utf-8", "surrogatepass")
        whole = struct.pack("<I", len(text)) + text + b"".join(parts)
        stream.write(garble(whole) if way == "bytes" else whole)
        stream.flush()
        return
    real_send(stream, header, parts)
wire = next((m for n, m in sys.modules.items() if n.startswith("refold_worker") and hasattr(m, "send")
             and hasattr(m, "receive")), None)
if wire is not None:
    real_send = wire.send
    for module in list(sys.modules.values()):
        if getattr(module, "send", None) is real_send:
            module.send = hostile_send
def each_descriptor(do):
    for number in range(3, 24):
        try:
            do(number)
        except (OSError, ValueError):
            pass
def initial(key):
    return {{"n": 0}}
def apply(state, event):
    state["n"] += 1
    if event.offset == 5 or wire is None:
        if way == "garbage":
            each_descriptor(lambda n: os.write(n, garble(b'{{"kind":"folded","parts":[]}}' * 20)))
        elif way == "truncate":
            each_descriptor(lambda n: os.truncate(n, 0))
        elif way == "flood":
            for _ in range(200):
                each_descriptor(lambda n: os.set_blocking(n, False))
                each_descriptor(lambda n: os.write(n, struct.pack("<I", 2**32 - 1) + b"x" * 65536))
        elif way == "close":
            each_descriptor(os.close)
"""
)
_PROGRAM = (
    _COMMON
    + """
way = draw.choice(("mutate", "mutate", "garble", "garble", "silent", "flood", "twice", "exit", "binary"))
def say(value):
    text = json.dumps(value).encode("utf-8", "surrogatepass")
    if way == "garble" and draw.random() < 0.3:
        text = garble(text)
    if way == "binary" and draw.random() < 0.2:
        text = bytes(draw.randrange(256) for _ in range(200))
    sys.stdout.buffer.write(text + b"\\n")
    sys.stdout.buffer.flush()
for line in sys.stdin:
    message = json.loads(line)
    if "refold" in message:
        answer = {{"ready": 1, "runtime": "odd", "invariants": {{"x": "state.n > 0"}}}}
    elif "event" in message:
        event = message["event"]
        answer = {{"offset": event["offset"], "changes": {{event["stream"]: {{"n": event["offset"]}}}}}}
    elif "route" in message:
        answer = {{"offset": message["route"]["offset"], "keys": ["a"]}}
    else:
        continue
    if way == "mutate" and draw.random() < 0.3:
        answer = mutate(answer)
    if way == "exit" and draw.random() < 0.05:
        os._exit(draw.randrange(256))
    if way == "silent" and draw.random() < 0.05:
        time.sleep(30)
    if way == "flood" and draw.random() < 0.05:
        while True:
            sys.stdout.buffer.write(b"x" * 65536)
    say(answer)
    if way == "twice" and draw.random() < 0.1:
        say(answer)
"""
)


def hostile_projection(seed: int) -> str:
    """Return a Python projection whose worker breaks the frames to its parent."""
    return _PROJECTION.format(seed=seed)


def hostile_program(seed: int) -> str:
    """Return a program that breaks the protocol of lines."""
    return _PROGRAM.format(seed=seed)
