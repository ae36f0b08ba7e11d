import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from autoassign.analysis.comparison import trials
from autoassign.analysis.comparison.trials import (
    Trial,
    divide_machine,
    run_trials,
    train_command,
)


@pytest.fixture
def script(monkeypatch):
    """Trainings are Python one-liners: the name of a trial."""
    monkeypatch.setattr(trials, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(
        trials, "train_command", lambda trial, _: [sys.executable, "-c", trial.name]
    )


def as_trials(folder: Path, *scripts: str) -> list[Trial]:
    return [Trial(text, i, folder, 1) for i, text in enumerate(scripts)]


def test_every_trial_ends_with_its_exit_code_whatever_the_others_do(script, tmp_path):
    ended = {}
    wanted = as_trials(tmp_path, "print('fine')", "import sys; sys.exit(3)", "print('fine too')")
    run_trials(wanted, [{}], 1, lambda trial, code, _: ended.update({trial.seed: code}))
    assert ended == {0: 0, 1: 3, 2: 0}
    assert wanted[2].last_lines() == "    fine too"


def test_two_shares_are_two_at_a_time(script, tmp_path):
    # Each waits for the other's file: one at a time would never end.
    meet = (
        "import pathlib, time\npathlib.Path({!r}).touch()\n"
        "while not pathlib.Path({!r}).exists(): time.sleep(0.01)"
    )
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    codes = []
    run_trials(
        as_trials(tmp_path, meet.format(one, two), meet.format(two, one)),
        [{}, {}],
        1,
        lambda trial, code, _: codes.append(code),
    )
    assert codes == [0, 0]


def test_a_share_gives_its_environment(script, tmp_path):
    wanted = as_trials(tmp_path, "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])")
    run_trials(wanted, [{"CUDA_VISIBLE_DEVICES": "4,5"}], 2, lambda *_: None)
    assert wanted[0].last_lines().strip() == "4,5"


def test_an_interrupt_ends_the_training_and_its_workers(script, tmp_path):
    workers = (
        "import os, pathlib, subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(tmp_path / 'new')!r}).write_text(str(worker.pid))\n"
        f"os.rename({str(tmp_path / 'new')!r}, {str(tmp_path / 'worker')!r})\n"
        "time.sleep(60)"
    )

    def interrupt():
        while not (tmp_path / "worker").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_trials(as_trials(tmp_path, workers), [{}], 1, lambda *_: None)
    thread.join()
    worker = int((tmp_path / "worker").read_text())
    status = Path(f"/proc/{worker}/stat")

    def ended():
        try:
            return status.read_text().split()[2] == "Z"  # where nobody collects it
        except (FileNotFoundError, ProcessLookupError):
            return True

    for _ in range(1000):  # a killed process takes a moment on a busy machine
        if ended():
            break
        time.sleep(0.01)
    assert ended()


def test_a_training_resumes_with_the_seed_and_folder_of_its_trial():
    command = train_command(Trial("a", 3, Path("out/a"), 100), 8)
    assert command[1:4] == ["-m", "autoassign", "train"]
    assert "--resume" in command
    assert command[command.index("--num-gpus") + 1] == "8"
    assert command[-4:] == ["OUTPUT_DIR", "out/a/seed3", "SEED", "3"]


def test_cores_are_divided(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(trials, "_num_cores", lambda: 8)
    assert divide_machine(1, None) == [{}]
    assert divide_machine(3, None) == [{"OMP_NUM_THREADS": "2"}] * 3


def test_gpus_are_divided(monkeypatch):
    monkeypatch.setattr(trials.torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,6,7")
    shares = [slot["CUDA_VISIBLE_DEVICES"] for slot in divide_machine(2, 2)]
    assert shares == ["2,3", "6,7"]
    with pytest.raises(ValueError, match="take 6, but 4 are visible"):
        divide_machine(3, 2)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
def test_the_peak_memory_is_that_of_the_training_alone(script, tmp_path):
    peaks = []
    # 100 MB for a moment; this process, with its torch, has several times as much.
    hold = "import time; x = bytearray(100 << 20); time.sleep(0.3); del x; time.sleep(0.3)"
    run_trials(as_trials(tmp_path, hold), [{}], 1, lambda trial, code, peak: peaks.append(peak))
    assert 100 < peaks[0] < 200
