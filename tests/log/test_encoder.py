from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.log.encoder import encoded, or_null, quoted, seconds

texts = st.text(st.characters())  # lone surrogates too
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@given(texts)
def test_json_reads_every_text_back(text):
    written = quoted(text)
    assert json.loads(written) == text
    assert written.isascii() and written.isprintable()


@given(values)
def test_json_reads_every_value_back(value):
    assert json.loads(encoded(value)) == value


def test_the_letters_that_json_escapes():
    assert quoted('a"b\\c\n\x00\x7f</script>é\U0001f600\udc80') == (
        '"a\\"b\\\\c\\n\\u0000\\u007f</script>\\u00e9\\ud83d\\ude00\\udc80"'
    )


def test_what_has_no_json_is_null_or_an_error():
    assert [encoded(each) for each in (math.inf, -math.inf, math.nan)] == ["null"] * 3
    assert (or_null(None), seconds(None), seconds(0.0000014)) == ("null", "null", "0.000001")
    with pytest.raises(TypeError, match="no JSON for a bytes"):
        encoded(b"")
