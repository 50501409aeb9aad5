"""A forked child never hangs: nets that ran before the fork raise, nets of a fresh process work."""

import os
import subprocess
import sys
import textwrap

CHILD = """
    import os, sys
    import numpy as np
    from pycaffe_like.errors import DeviceError
    from pycaffe_like.testing import net_from_text

    TEXT = '''
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 dim: 16 dim: 32 dim: 32 } } }
    layer { name: "c" type: "Convolution" bottom: "x" top: "c"
            convolution_param { num_output: 16 kernel_size: 3 weight_filler { value: 1 } } }
    '''
    net = net_from_text(TEXT)
    if sys.argv[1] == "after":
        net.forward()
    pid = os.fork()
    if pid == 0:
        try:
            net.forward()
            os._exit(0)
        except DeviceError:
            os._exit(7)
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def exit_code_of_child(when, folder):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), when],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,  # not the checkout, whose sources would come before the installation
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        check=True,
    )
    return int(done.stdout)


def test_child_forked_after_a_net_has_run_gets_an_error(tmp_path):
    assert exit_code_of_child("after", tmp_path) == 7


def test_child_forked_before_any_net_has_run_works(tmp_path):
    assert exit_code_of_child("before", tmp_path) == 0
