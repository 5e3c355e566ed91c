# A client of gRPC that calls every method of the server through the address of its argument.
import sys
import threading

import grpc

address = sys.argv[1]
channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
unary = channel.unary_unary("/test.T/Unary")

# Unary, with metadata both ways.
response, call = unary.with_call(b"hello", metadata=(("x-mine", "1"),), timeout=60)
assert response == b"hello", response
assert dict(call.trailing_metadata())["x-seen"] == "1", call.trailing_metadata()
big = b"x" * 3_000_000
assert unary(big, timeout=60) == big
assert all(unary(b"%d" % n, timeout=60) == b"%d" % n for n in range(100))

# A status and its message, without a message: trailers alone.
try:
    channel.unary_unary("/test.T/Fail")(b"", timeout=60)
    raise AssertionError("it fails")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "not now", error
try:
    channel.unary_unary("/test.T/Missing")(b"", timeout=60)
    raise AssertionError("there is no such method")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

# Streams.
received = list(channel.unary_stream("/test.T/ServerStream")(b"1000", timeout=60))
assert received == [str(n).encode() for n in range(1000)], len(received)
sums = channel.stream_unary("/test.T/ClientStream")
assert sums((b"x" * 1000 for _ in range(1000)), timeout=60) == b"1000000"

# Each message is answered before the next one is sent.
answered = threading.Semaphore(1)


def one_by_one():
    for n in range(50):
        answered.acquire()
        yield str(n).encode()


received = []
for message in channel.stream_stream("/test.T/Bidi")(one_by_one(), timeout=60):
    received.append(message)
    answered.release()
assert received == [str(n).encode() for n in range(50)], received

# The deadline reaches the server.
remaining = float(channel.unary_unary("/test.T/Remaining")(b"", timeout=60))
assert 0 < remaining < 90, remaining

# A cancelled call ends at the server.

was_cancelled = channel.unary_unary("/test.T/WasCancelled")
hanging = channel.unary_stream("/test.T/Hang")(b"", timeout=1)
try:
    list(hanging)
    raise AssertionError("its deadline passes")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
assert was_cancelled(b"", timeout=60) == b"yes"

# An upstream that cannot be reached.
gone = grpc.insecure_channel(
    address,
    options=[("grpc.default_authority", "gone.test"), ("grpc.enable_http_proxy", 0)],
)
try:
    gone.unary_unary("/test.T/Unary")(b"", timeout=60)
    raise AssertionError("it cannot be reached")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    assert "refused" in error.details(), error
print("all calls")
