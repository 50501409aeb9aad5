import io
import logging
import re

import pytest

from pycaffe_like import logs

LINE = re.compile(r"^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+:\d+\] ")


@pytest.fixture
def caffe_log(monkeypatch):
    monkeypatch.delenv("GLOG_minloglevel", raising=False)
    before = logs.log.handlers[:], logs.log.level, logs.log.propagate
    logs.install()
    yield logs.log
    logs.log.handlers[:], level, logs.log.propagate = before
    logs.log.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("level", "letter"), [("info", "I"), ("warning", "W"), ("error", "E"), ("critical", "F")]
)
def test_line_has_glog_prefix_with_four_digit_date(caffe_log, capsys, level, letter):
    getattr(caffe_log, level)("Iteration %d, lr = %g", 40, 0.01)
    line = capsys.readouterr().err
    assert LINE.match(line)
    assert line.startswith(letter)
    assert line.endswith("] Iteration 40, lr = 0.01\n")
    assert "test_logs.py:" in line


def test_thread_id_is_padded_to_five_characters():
    record = logging.LogRecord("caffe", logging.INFO, "/x/solver.py", 239, "text", None, None)
    record.created = 0.25
    line = logs.GlogFormatter().format(record)
    thread = line.split(".250000 ", 1)[1].split(" solver.py:239] text")[0]
    assert len(thread) >= 5
    assert thread.strip().isdigit()


def test_scrapers_find_iteration_and_rate(caffe_log, capsys):
    caffe_log.info("Iteration %d, lr = %g", 100, 0.00992565)
    line = capsys.readouterr().err
    assert re.search(r"Iteration (\d+)", line)[1] == "100"
    assert line.split()[8 - 1] == "="  # field 8 of 9: scrapers take field 9, the rate
    assert line.split()[8] == "0.00992565"


def test_glog_minloglevel_hides_info(caffe_log, capsys, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    logs.install()
    caffe_log.info("hidden")
    caffe_log.warning("shown")
    text = capsys.readouterr().err
    assert "hidden" not in text
    assert "shown" in text


def test_installing_twice_writes_lines_once(caffe_log, capsys):
    logs.install()
    caffe_log.info("only once")
    assert capsys.readouterr().err.count("only once") == 1


def test_progress_draws_on_a_terminal_and_clears():
    stream = Terminal()
    bar = logs.ProgressBar(stream)
    bar.update(5, 10, 0.25)
    assert "[###############...............] 5/10  loss 0.25" in stream.getvalue()
    bar.clear()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_progress_is_silent_when_piped():
    stream = io.StringIO()
    bar = logs.ProgressBar(stream)
    bar.update(5, 10, 0.25)
    bar.clear()
    assert stream.getvalue() == ""
