"""The console script: an interpreter that looks for installed packages late, and ends at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import growdisk
from tests.unit.cli.command import GROWDISK, environment

ROOT = Path(growdisk.__file__).parent.parent
BEGIN = f"import sys; sys.path.append({str(ROOT)!r}); from growdisk.cli import start\n"


def run(code: str, **more: object) -> subprocess.CompletedProcess[str]:
    """As setup/venv.sh starts it."""
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-I", "-S", "-c", BEGIN + code],
        text=True,
        check=False,
        stderr=subprocess.PIPE,
        **{"stdout": subprocess.PIPE} | more,
    )


def test_no_package_is_looked_for_before_one_is_needed():
    looked = "start.main = lambda: print('site' in sys.modules) or 0\nstart.console()"
    assert run(looked).stdout == "False\n"
    needed = (
        "start.main = lambda: __import__('rich') and print('site' in sys.modules) or "
        "0\nstart.console()"
    )
    assert run(needed).stdout == "True\n"


def test_what_exists_nowhere_is_still_not_found():
    missing = """
def main():
    try:
        import no_such_package
    except ModuleNotFoundError as error:
        print(error)
    return 0
start.main = main
start.console()
"""
    assert run(missing).stdout == "No module named 'no_such_package'\n"


def test_the_answer_is_out_and_the_exit_code_right():
    done = run("start.main = lambda: print('x' * 100_000) or 3\nstart.console()")
    assert (done.returncode, len(done.stdout)) == (3, 100_001)


def test_a_ctrl_c_while_modules_are_loaded_ends_it_without_a_traceback():
    code = """
import signal, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "growdisk.cli.dispatch":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder)
sys.argv = ["growdisk", "status", "/nowhere"]
start.console()
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (130, "")


def test_what_was_to_run_at_the_end_runs():
    code = "import atexit; atexit.register(print, 'last')\nstart.main = lambda: 0\nstart.console()"
    assert run(code).stdout == "last\n"


def test_a_thread_that_still_works_is_waited_for():
    code = """
import threading
def main():
    begun = threading.Event()
    def work():
        begun.wait()
        threading.main_thread().join()  # until the interpreter waits for this one
        print('last')
    threading.Thread(target=work).start()
    begun.set()
    return 3
start.main = main
start.console()
"""
    done = run(code)
    assert (done.returncode, done.stdout) == (3, "last\n")


def test_threads_that_have_ended_cost_no_orderly_end():
    code = """
import sys, threading
def main():
    thread = threading.Thread(target=print, args=('first',))
    thread.start()
    thread.join()
    sys.modules['kept'] = type('Kept', (), {'__del__': lambda self: print('taken apart')})()
    return 3
start.main = main
start.console()
"""
    done = run(code)
    assert (done.returncode, done.stdout) == (3, "first\n")


def test_an_answer_that_cannot_be_written_is_no_success():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = run("start.main = lambda: print('x') or 0\nstart.console()", stdout=full)
    assert done.returncode != 0


def test_a_closed_stdout_does_no_harm():
    assert (
        run(
            "import os; os.close(1); sys.stdout = None\nstart.main = lambda: 3\nstart.console()"
        ).returncode
        == 3
    )


def test_pathlib_comes_without_urls_and_both_work_afterwards():
    code = """
def main():
    from growdisk.fast_imports import load_standard_modules
    load_standard_modules()
    from pathlib import Path
    print("urllib.parse" in sys.modules, Path("/a b").as_uri())
    import urllib.parse
    print(urllib.parse.unquote("%20x"))
    return 0
start.main = main
start.console()
"""
    assert run(code).stdout == "False file:///a%20b\n x\n"


def test_msgspec_comes_without_typing_extensions_and_both_work_afterwards():
    code = """
def main():
    from growdisk.host.json_codec import decoded
    print("inspect" in sys.modules, decoded('{"a": [1]}', dict[str, list[int]]))
    import typing_extensions
    print(typing_extensions.Required is not None)
    return 0
start.main = main
start.console()
"""
    assert run(code).stdout == "False {'a': [1]}\nTrue\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_ends_its_tools_and_removes_its_files(
    tmp_path: Path, number: signal.Signals
) -> None:
    temporary, ssh = tmp_path / "temporary", tmp_path / "ssh"
    temporary.mkdir()
    ssh.write_text(
        f"#!/bin/sh\necho $$ >{tmp_path}/new\nmv {tmp_path}/new {tmp_path}/pid\n"
        "exec cat >/dev/null\n"
    )
    ssh.chmod(0o755)
    env = environment({"TMPDIR": str(temporary), "PATH": f"{tmp_path}:/usr/bin:/bin"})
    words = [GROWDISK, "show", "ssh://far/disk.qcow2", "--json"]
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "pid").exists():
        assert process.poll() is None, "it has ended before it could be stopped"
        time.sleep(0.01)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    tool = Path("/proc", (tmp_path / "pid").read_text().strip())
    assert (process.returncode, '"interrupted"' in said) == (130, True)
    assert not list(temporary.iterdir())
    end = time.monotonic() + 10  # it may still be about to see that nobody talks to it
    while tool.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
