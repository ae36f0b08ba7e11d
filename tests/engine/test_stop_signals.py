"""SIGINT and SIGTERM during a training."""

import math
import os
import signal
import threading

import pytest
import torch
from detectron2.engine import hooks
from training_runs import metrics, parse, process_state_kept, run

from autoassign.engine import Trainer, TrainingStopped, setup_config
from autoassign.engine.stop_signals import StopSignals

UNEVALUATED = ("DATASETS.CUSTOM.TEST", "", "DATASETS.CUSTOM.TEST_IMAGES", "")
RARE_CHECKPOINTS = ("SOLVER.CHECKPOINT_PERIOD", 100)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def train(args, trainer_class):
    with process_state_kept():
        trainer = trainer_class(setup_config(args))
        trainer.resume_or_load(args.resume)
        return trainer.train()


def interrupted_in_iteration(iteration: int, *numbers: int) -> type[Trainer]:
    class Interrupted(Trainer):
        def build_hooks(self):
            def send_all(trainer):
                if trainer.iter == iteration:
                    for number in numbers:
                        send(number)

            return [hooks.CallbackHook(before_step=send_all), *super().build_hooks()]

    return Interrupted


def final_weights(output):
    return torch.load(output / "model_final.pth", weights_only=True)["model"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_iteration_with_a_checkpoint_that_training_goes_on_from(
    shapes, tmp_path, number, code
):
    options = (*UNEVALUATED, *RARE_CHECKPOINTS, "SOLVER.MAX_ITER", 3)
    run(shapes, tmp_path / "whole", *options)
    output = tmp_path / "stopped"
    handler = signal.getsignal(number)
    with pytest.raises(TrainingStopped) as stopped:
        train(parse(shapes, output, *options), interrupted_in_iteration(1, number))
    assert stopped.value.exit_code == code
    assert f"after 2 of 3 iterations. The last checkpoint is {output}/model_0000001.pth" in str(
        stopped.value
    )
    assert signal.getsignal(number) is handler

    run(shapes, output, *options, flags=("--resume",))
    ours, theirs = final_weights(output), final_weights(tmp_path / "whole")
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_sigterm_again_is_what_launchers_send_and_ctrl_c_again_ends_at_once(shapes, tmp_path):
    options = (*UNEVALUATED, *RARE_CHECKPOINTS)
    numbers = (signal.SIGTERM, signal.SIGTERM)
    with pytest.raises(TrainingStopped):
        train(parse(shapes, tmp_path / "a", *options), interrupted_in_iteration(1, *numbers))
    assert (tmp_path / "a/model_0000001.pth").exists()

    numbers = (signal.SIGTERM, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as error:
        train(parse(shapes, tmp_path / "b", *options), interrupted_in_iteration(1, *numbers))
    assert not isinstance(error.value, TrainingStopped)
    assert not (tmp_path / "b/model_0000001.pth").exists()


@pytest.mark.parametrize("evaluation", [1, 2])
def test_an_evaluation_is_cut_short_and_made_up_for(trained, shapes, tmp_path, evaluation):
    class Interrupted(Trainer):
        num_evaluations = 0

        @classmethod
        def build_evaluator(cls, cfg, dataset_name):
            cls.num_evaluations += 1
            evaluator = super().build_evaluator(cfg, dataset_name)
            if cls.num_evaluations == evaluation:
                evaluator.process = lambda inputs, outputs: send(signal.SIGTERM)
            return evaluator

    output = tmp_path / "stopped"
    with pytest.raises(TrainingStopped, match=f"after {2 * evaluation} of 4 iterations"):
        train(parse(shapes, output, *RARE_CHECKPOINTS), Interrupted)
    run(shapes, output, *RARE_CHECKPOINTS, flags=("--resume",))
    ours, theirs = (
        {min(row["iteration"], 4): row["bbox/AP50"] for row in metrics(folder) if "bbox/AP" in row}
        for folder in (output, trained)
    )
    assert ours == theirs


def test_a_stop_in_the_last_iteration_leaves_only_the_evaluation_to_be_done(shapes, tmp_path):
    with pytest.raises(TrainingStopped, match="after 4 of 4 iterations"):
        train(parse(shapes, tmp_path), interrupted_in_iteration(3, signal.SIGTERM))
    assert "bbox/AP" not in metrics(tmp_path)[-1]
    weights = (tmp_path / "model_final.pth").read_bytes()
    run(shapes, tmp_path, flags=("--resume",))
    assert "bbox/AP" in metrics(tmp_path)[-1]
    assert (tmp_path / "model_final.pth").read_bytes() == weights


def test_a_stop_in_a_failed_step_keeps_the_checkpoint_of_the_last_period(shapes, tmp_path):
    class Interrupted(Trainer):
        def run_step(self):
            if self.iter == 3:  # whose checkpoint would be due
                next(self._model.parameters()).register_hook(lambda gradient: gradient * math.nan)
                send(signal.SIGTERM)
            super().run_step()

    options = (*UNEVALUATED, "SOLVER.MAX_ITER", 9, "MODEL.BACKBONE.FREEZE_AT", 0)
    with pytest.raises(TrainingStopped, match="after a failed step") as stopped:
        train(parse(shapes, tmp_path, *options), Interrupted)
    assert str(stopped.value).endswith(f"The last checkpoint is {tmp_path}/model_0000001.pth.")
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_0000001.pth"]


def test_outside_the_main_thread_signals_are_left_alone():
    handler = signal.getsignal(signal.SIGTERM)
    seen = []

    def look():
        with StopSignals(lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [handler]
