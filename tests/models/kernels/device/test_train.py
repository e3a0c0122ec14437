import pytest

from models.errors import UnknownNameError
from models.kernels.candidate import KernelCandidate
from models.kernels.device import capture_model, device_candidates, train_model
from models.kernels.device.refine import write_kernel
from models.kernels.device.report import TrainReport
from models.kernels.device.train import DeviceRunError
from models.kernels.device.worker import largest_difference
from models.kernels.device.workloads import find_workload
from models.kernels.synth.schedule import Schedule

pytestmark = pytest.mark.slow


def test_a_model_trains_on_generated_kernels_only_and_its_losses_are_the_cpus(recommender, cache):
    capture, modules = recommender
    report = train_model("dlrm", modules, steps=2, seed=5, capture=capture, cache=cache)
    assert report.agrees, report
    assert report.losses == pytest.approx(report.cpu_losses, rel=1e-5)
    assert report.losses[0] != report.losses[1]
    assert report.coverage == 1.0
    assert report.missing == ()
    assert report.host_operators == {}
    assert report.launches > 200
    assert report.calls["aten._embedding_bag_backward.default"] == 6


def test_an_optimizer_that_counts_steps_does_that_alone_on_the_host(cache):
    capture = capture_model(find_workload("gpt"), steps=1)
    modules = {
        name: write_kernel(name, capture.of(name), Schedule())[0] for name in capture.overloads
    }
    report = train_model("gpt", modules, steps=1, capture=capture, cache=cache)
    assert report.agrees, report
    parameters = len(list(find_workload("gpt").model(0).parameters()))
    assert report.host_operators == {"aten.add_.Tensor": parameters}


def test_a_missing_module_ends_the_run_and_is_named(recommender, cache):
    capture, modules = recommender
    left = {name: one for name, one in modules.items() if name != "aten.addmm.default"}
    report = train_model("dlrm", left, steps=2, capture=capture, cache=cache)
    assert not report.agrees
    assert report.losses == ()
    assert report.missing == ("aten.addmm.default",)
    assert "aten::addmm" in report.stopped_by


LEAKY = """\
@triton.jit
def kernel(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < n)
    tl.store(y + at, tl.where(v > 0, v, 0.1 * v), mask=at < n)


def wrapper(self):
    result = torch.empty(self.shape, dtype=self.dtype, device=self.device)
    kernel[(1,)](self, result, self.numel(), BLOCK=triton.next_power_of_2(self.numel()))
    return result
"""
"""Not ReLU: negative numbers pass, a tenth of them."""


def test_a_wrong_kernel_shows_in_the_losses(recommender, cache):
    _, modules = recommender
    wrong = KernelCandidate.of("aten.relu.default", LEAKY)
    report = train_model("dlrm", {**modules, "aten.relu.default": wrong}, steps=1, cache=cache)
    assert len(report.losses) == 1
    assert report.largest_difference > 10 * report.tolerance
    assert not report.agrees


def test_a_process_that_dies_is_no_report(recommender, cache):
    _, modules = recommender
    dying = KernelCandidate.of("aten.relu.default", "def wrapper(self):\n    exit(3)\n")
    with pytest.raises(DeviceRunError, match="ended with 3 and no report"):
        train_model("dlrm", {**modules, "aten.relu.default": dying}, steps=1, cache=cache)


def report_of(losses, cpu_losses):
    return TrainReport(
        model="by hand", seed=0, steps=2, losses=losses, cpu_losses=cpu_losses, tolerance=1e-3,
        largest_difference=largest_difference(losses, cpu_losses),
    )  # fmt: skip


def test_losses_agree_when_every_step_ran_and_is_close():
    assert report_of((4.0, 0.5), (4.002, 0.5005)).largest_difference == pytest.approx(
        5e-4, rel=1e-2
    )
    assert report_of((4.0, 0.5), (4.002, 0.5005)).agrees
    assert not report_of((4.0, 0.5), (4.02, 0.5)).agrees
    assert not report_of((4.0,), (4.0, 0.5)).agrees
    assert not report_of((), (4.0, 0.5)).agrees


def test_a_loss_that_is_no_number_never_agrees_and_survives_json():
    nan = float("nan")
    for losses, due in (((4.0, nan), (4.0, 0.5)), ((nan, 0.5), (4.0, 0.5)), ((nan, nan),) * 2):
        report = report_of(losses, due)
        assert not report.agrees
        assert not TrainReport.model_validate_json(report.model_dump_json()).agrees


def test_an_unknown_model_is_refused_before_anything_runs():
    with pytest.raises(UnknownNameError, match="no model named 'gpt3'"):
        train_model("gpt3", {})


def test_a_module_of_an_overload_goes_before_one_of_the_catalogue():
    own = KernelCandidate.of("aten.exp.default", "def wrapper(self):\n    return 1\n")
    general = KernelCandidate.of("exp", "def wrapper(self):\n    return 2\n")
    assert device_candidates({"exp": general}) == {"aten.exp.default": general}
    for order in ((own, general), (general, own)):
        assert device_candidates({one.op_id: one for one in order}) == {"aten.exp.default": own}
