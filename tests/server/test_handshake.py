"""A dialogue fed with bytes as they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.errors import ProxyClosed
from pywrap.server.handshake import Handshake
from pywrap.socks.serve import Request, receive_request
from pywrap.socks.wire import Endpoint

MESSAGE = b"\x05\x01\x00" + b"\x05\x01\x00\x03" + b"\x0bexample.org" + b"\x01\xbb"
REQUEST = Request(5, 1, Endpoint("example.org", 443))


def handshake(sent):
    return Handshake(receive_request(), sent.append)


@given(st.lists(st.integers(0, len(MESSAGE) + 5), max_size=6))
def test_any_cut_gives_the_same(cuts):
    sent = []
    shaking = handshake(sent)
    data = MESSAGE + b"after"
    edges = [0, *sorted(cuts), len(data)]
    answers = []
    rest = b""
    for start, end in zip(edges, edges[1:], strict=False):
        if answers:
            rest += data[start:end]
        elif (answer := shaking.feed(data[start:end])) is not None:
            answers.append(answer)
            rest = shaking.rest
    assert answers == [REQUEST]
    assert sent == [b"\x05\x00"]
    assert rest == b"after"


def test_an_answer_is_not_sent_before_its_question_is_complete():
    sent = []
    shaking = handshake(sent)
    assert shaking.feed(b"\x05\x02\x00") is None
    assert sent == []
    assert shaking.feed(b"\x01") is None
    assert sent == [b"\x05\x00"]


@pytest.mark.parametrize("cut", range(1, len(MESSAGE)))
def test_hanging_up_anywhere(cut):
    shaking = handshake([])
    assert shaking.feed(MESSAGE[:cut]) is None
    with pytest.raises(ProxyClosed):
        shaking.hung_up()
