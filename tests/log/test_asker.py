"""Which library and which thread has asked for a connection."""

from __future__ import annotations

from pywrap.log import asker


def test_what_asks_is_the_first_package_outside_of_the_standard_library():
    def inside(name):
        return eval("ask()", {"__name__": name, "ask": asker.library})

    assert inside("urllib3.util.connection") == "urllib3"
    assert inside("__main__") == "__main__"
    assert inside("pip._vendor.urllib3.util.connection") == "urllib3"
    # Through asyncio or ourselves, it is the caller of that: these tests.
    assert inside("asyncio.base_events") == inside("pywrap.intercept.runtime") == "tests"


def test_the_thread_is_told_without_making_an_object_for_it():
    import _thread
    import threading

    before = set(threading._active)
    lock, said = _thread.allocate_lock(), []
    lock.acquire()
    _thread.start_new_thread(lambda: (said.append(asker.thread()), lock.release()), ())
    assert lock.acquire(timeout=30)
    assert said[0].isdigit() and set(threading._active) == before
    assert asker.thread() == threading.current_thread().name
