import random

import pytest

from models.errors import NotEnoughDataError, ProjectError
from models.sharding import Job, Layout, Slice, Workload, find_model
from models.sharding.profile import profile_of_maxtext_log

STEP = (
    "completed step: {n}, seconds: {s}, TFLOP/s/device: {t}, Tokens/s/device: {k}, "
    "total_weights: {w}, loss: {l}"
)


def log(seconds, config=(), weights=65536, loss=2.5):
    lines = [f"Config param {key}: {value}" for key, value in config]
    lines += ["some other line", "I0205 08:54:19.6 130017 max_utils.py:691] noise"]
    lines += [
        STEP.format(n=n, s=s, t=100.0, k=weights / 4 / float(s), w=weights, l=loss)
        for n, s in enumerate(seconds)
    ]
    return "\n".join(lines)


CONFIG = [
    ("per_device_batch_size", 4), ("max_target_length", 4096), ("ici_fsdp_parallelism", 2),
    ("ici_tensor_parallelism", 2), ("remat_policy", "minimal"),
]  # fmt: skip


def test_the_published_mixtral_run_is_read_with_layout_and_without_warm_up(shipped):
    found = profile_of_maxtext_log((shipped / "mixtral_8x22b_v6e.log").read_text())
    assert found.step_s == pytest.approx(24.706, abs=5e-4)
    assert found.flops == pytest.approx(332.463e12 * 24.706, rel=1e-4)
    assert found.layout == Layout(fsdp=64, expert=4, micro_batch=8, remat="full")
    # 6.47 GiB per device after the parameters were made.
    assert found.argument_bytes == pytest.approx(6.47 * 2**30)
    assert found.spread_s < 0.1
    assert found.warnings == ("1 warm-up steps are left out",)
    assert found.trust["step_s"] == "measured"


def test_a_config_that_the_log_disproves_is_said_and_the_proof_is_taken(shipped):
    found = profile_of_maxtext_log((shipped / "llama2_70b_v6e.log").read_text())
    assert any(
        "per_device_batch_size 3 makes 3,145,728 tokens a step, total_weights says 2,097,152, "
        "which is 2 per device" in said
        for said in found.warnings
    )
    # -1 is filled up to 256 devices.
    assert found.layout == Layout(fsdp_transpose=256, micro_batch=2, remat="offload")
    assert found.peak_hbm_bytes == pytest.approx(27.9 * 2**30)
    assert found.argument_bytes == pytest.approx(3.2 * 2**30)


def test_median_and_spread_are_those_of_the_steady_steps():
    found = profile_of_maxtext_log(log([60.0, 9.0, 2.0, 2.2, 2.1, 1.9, 2.0]))
    assert found.step_s == 2.0
    # 10 % and 90 % quantiles of 1.9, 2, 2, 2.1, 2.2.
    assert found.spread_s == pytest.approx((2.16 - 1.94) / 2)
    assert "2 warm-up steps are left out" in found.warnings


def test_steps_without_a_time_are_left_out_and_counted():
    found = profile_of_maxtext_log(log([2.0, "nan", -1.0, 2.0, "inf", 2.0]))
    assert found.step_s == 2.0
    assert "3 of 6 steps have no positive time" in found.warnings


def test_a_loss_that_is_no_number_is_said():
    found = profile_of_maxtext_log(log([2.0, 2.0, 2.0], loss="nan"))
    assert "the loss is no number from step 0 on (3 steps)" in found.warnings


def test_tokens_that_do_not_multiply_out_are_said():
    text = log([2.0] * 4, CONFIG).replace("Tokens/s/device: 8192.0", "Tokens/s/device: 9999.0")
    said = profile_of_maxtext_log(text).warnings
    assert any("9,999 tokens/s/device x 2 s x 4 devices are 79,992 tokens" in one for one in said)


def test_the_job_and_the_layout_given_are_compared():
    job = Job(
        find_model("llama3.1-8b"), Workload(global_batch=8, seq_len=4096), Slice.parse("v5e:2x2")
    )
    given = Layout(fsdp=4)
    found = profile_of_maxtext_log(log([2.0] * 4, CONFIG), job, given)
    assert found.layout == given
    assert found.chips == 4
    assert "the job has 32,768 tokens a step, total_weights says 65,536" in found.warnings
    assert any("the log's config says fsdp=2 tensor=2" in said for said in found.warnings)
    same = profile_of_maxtext_log(log([2.0] * 4, CONFIG), None, Layout(fsdp=2, tensor=2))
    assert same.warnings == ()


def test_a_rate_above_the_peak_is_doubted():
    job = Job(
        find_model("llama3.1-8b"), Workload(global_batch=16, seq_len=4096), Slice.parse("v5e:2x2")
    )
    text = log([2.0] * 4).replace("device: 100.0", "device: 250.0")
    assert any(
        "exceed the peak of v5e" in said for said in profile_of_maxtext_log(text, job).warnings
    )


def test_axes_over_slices_multiply_and_unknown_ones_are_said():
    config = [
        ("num_slices", 2), ("dcn_data_parallelism", -1), ("ici_fsdp_parallelism", -1),
        ("ici_context_parallelism", 2), ("ici_sequence_parallelism", 2),
        ("ici_autoregressive_parallelism", 2), ("ici_pipeline_parallelism", 2),
        ("num_pipeline_repeats", 3),
    ]  # fmt: skip
    text = "Num_devices: 64, shape (x)\n" + log([2.0] * 4, config)
    found = profile_of_maxtext_log(text)
    assert found.layout == Layout(data=2, fsdp=2, context=4, pipeline=2, interleave=3)
    assert any("axis autoregressive of 2 has no counterpart" in said for said in found.warnings)


def test_two_open_axes_give_no_layout():
    config = [("ici_fsdp_parallelism", -1), ("ici_tensor_parallelism", -1)]
    found = profile_of_maxtext_log(log([2.0] * 4, config))
    assert found.layout is None
    assert any("its size is not known" in said for said in found.warnings)


def test_a_restart_in_the_log_is_said():
    text = log([2.0] * 3) + "\n" + log([2.0] * 3)
    assert any("numbers go back" in said for said in profile_of_maxtext_log(text).warnings)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_log_that_was_cut_in_its_warm_up_is_refused(shipped, steps):
    text = (shipped / "mixtral_8x22b_v6e.log").read_text()
    cut = text[: text.index(f"completed step: {steps},")]
    # The first step takes 61.4 s, all others 24.7 s.
    with pytest.raises(NotEnoughDataError, match="left after the warm-up, at least 3 are needed"):
        profile_of_maxtext_log(cut)


def test_three_steady_steps_are_few_and_said(shipped):
    text = (shipped / "mixtral_8x22b_v6e.log").read_text()
    found = profile_of_maxtext_log(text[: text.index("completed step: 4,")])
    assert found.step_s == pytest.approx(24.708)
    assert any("only 3 steps are left" in one for one in found.warnings)


def test_a_log_that_ends_as_its_steps_get_faster_is_doubted():
    # The second half, 30 to 20 s, has the median 25: from 31.25 s on it is warm-up.
    found = profile_of_maxtext_log(log([90.0, 60.0, 40.0, 31.0, 30.0, 28.0, 22.0, 20.0]))
    assert any("steps have not settled" in one for one in found.warnings)


@pytest.mark.parametrize("text", ["", "nothing here", log([-1.0, "nan"])])
def test_a_log_without_steps_is_refused(text):
    with pytest.raises(NotEnoughDataError, match="none with a positive time"):
        profile_of_maxtext_log(text)


def test_memory_of_the_host_is_not_that_of_a_chip():
    text = "RAMstats: x:\n\tUsing (GB) 184.14 / 1417.35 (12.99%) -->  Available:1224.63\n"
    assert profile_of_maxtext_log(text + log([2.0] * 3)).argument_bytes is None


def test_garbled_logs_raise_typed_errors_only(shipped):
    text = (shipped / "llama2_70b_v6e.log").read_text()
    draw = random.Random(3)
    read = 0
    for _ in range(150):
        letters = list(text[: draw.randrange(50, len(text))])
        for _ in range(draw.choice([1, 5, 50])):
            letters[draw.randrange(len(letters))] = draw.choice("-:,. e9infa(/")
        try:
            found = profile_of_maxtext_log("".join(letters))
        except ProjectError:
            continue
        read += 1
        assert found.step_s > 0
    assert read
