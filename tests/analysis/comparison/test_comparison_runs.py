import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from autoassign.analysis.comparison import runs
from autoassign.analysis.comparison.runs import Run, make_slots, run_all, train_command


@pytest.fixture
def script(monkeypatch):
    """Trainings are Python one-liners: the name of a run."""
    monkeypatch.setattr(runs, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(runs, "train_command", lambda run, _: [sys.executable, "-c", run.name])


def as_runs(folder: Path, *scripts: str) -> list[Run]:
    return [Run(text, i, Path("config"), folder / str(i)) for i, text in enumerate(scripts)]


def test_every_run_ends_with_its_exit_code_whatever_the_others_do(script, tmp_path):
    ended = {}
    wanted = as_runs(tmp_path, "print('fine')", "import sys; sys.exit(3)", "print('fine too')")
    run_all(wanted, [{}], 1, lambda run, code: ended.update({run.seed: code}))
    assert ended == {0: 0, 1: 3, 2: 0}
    assert wanted[2].last_lines() == "    fine too"


def test_two_slots_are_two_at_a_time(script, tmp_path):
    # Each waits for the other's file: one at a time would never end.
    meet = (
        "import pathlib, time\npathlib.Path({!r}).touch()\n"
        "while not pathlib.Path({!r}).exists(): time.sleep(0.01)"
    )
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    codes = []
    run_all(
        as_runs(tmp_path, meet.format(one, two), meet.format(two, one)),
        [{}, {}],
        1,
        lambda run, code: codes.append(code),
    )
    assert codes == [0, 0]


def test_a_slot_gives_its_environment(script, tmp_path):
    wanted = as_runs(tmp_path, "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])")
    run_all(wanted, [{"CUDA_VISIBLE_DEVICES": "4,5"}], 2, lambda run, code: None)
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
        run_all(as_runs(tmp_path, workers), [{}], 1, lambda run, code: None)
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


def test_a_training_resumes_with_the_seed_and_folder_of_its_run():
    command = train_command(Run("a", 3, Path("out/a/config.yaml"), Path("out/a/seed3")), 8)
    assert command[1:4] == ["-m", "autoassign", "train"]
    assert "--resume" in command
    assert command[command.index("--num-gpus") + 1] == "8"
    assert command[-4:] == ["OUTPUT_DIR", "out/a/seed3", "SEED", "3"]


def test_cores_are_divided(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runs, "_num_cores", lambda: 8)
    assert make_slots(1, None) == [{}]
    assert make_slots(3, None) == [{"OMP_NUM_THREADS": "2"}] * 3


def test_gpus_are_divided(monkeypatch):
    monkeypatch.setattr(runs.torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,6,7")
    shares = [slot["CUDA_VISIBLE_DEVICES"] for slot in make_slots(2, 2)]
    assert shares == ["2,3", "6,7"]
    with pytest.raises(ValueError, match="take 6, and 4 can be seen"):
        make_slots(3, 2)
