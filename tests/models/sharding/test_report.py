import json
import math
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from models.sharding import Job, Layout, Slice, Workload, find_model, propose
from models.sharding.diagnosis import diagnose
from models.sharding.knowledge.documents import Document
from models.sharding.profile.analytic import analytic_profile
from models.sharding.profile.base import Op
from models.sharding.report import PlanReportInput, ShotsLine, render_report, report_numbers
from models.sharding.report.chips import laid_axes
from models.sharding.report.numbers import MOST_POINTS, frontier, mfu, products
from models.sharding.report.tables import cited
from models.sharding.report.torus import where
from models.sharding.verify import verify
from tests.models.agents.browsing import chromium, new_browser

EVIL = "<script>window.hacked=1</script><img src=x onerror='window.hacked=2'>"


def job_of(model="llama3.1-8b", place="v5e:4x8", pods=1, **work):
    asked = {"seq_len": 8192, "global_batch": 128} | work
    return Job(find_model(model), Workload(**asked), Slice.parse(place, pods))


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    job = job_of()
    plan = propose(job)
    first = plan.proposals[0].layout
    profile = analytic_profile(job, first)
    cache = tmp_path_factory.mktemp("compiles")
    document = Document(
        id="a-text", title=f"Sharding {EVIL}", text=f"Weights are gathered. {EVIL}",
        source=f"A paper, section 2 {EVIL}", topics=frozenset({"weights"}),
    )  # fmt: skip
    return PlanReportInput(
        job, plan, profile=profile, diagnosis=diagnose(profile, job, first),
        checks=[verify(job, one, level="analytic", cache=cache) for one in plan.proposals],
        knowledge=[document], shots=[ShotsLine(f"ours {EVIL}", (0.8, 0.8, 1.0))],
        command=f"loom run plan_sharding {EVIL}", versions=(("models", EVIL),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def html(answer):
    return render_report(answer)


def sections(html):
    return [unescape(one) for one in re.findall(r"<h2>(.*?)</h2>", html)]


def test_the_page_is_one_file_of_less_than_3_mb_that_asks_for_nothing(html):
    assert len(html.encode()) < 3e6
    for loads in ("<script src", "<link", "<img", "http://", "url("):
        assert loads not in html
    assert "default-src 'none'" in html


def test_the_answer_comes_first(html):
    assert sections(html) == [
        "What is proposed", "What holds the step up", "What taking a limit away would save",
        "Where the step goes", "What holds the memory", "Roofline", "Every legal layout",
        "What fell out", "Which chips hold what", "How each array is split", "Measured runs",
        "What was looked up", "How to make it again",
    ]  # fmt: skip


def test_the_numbers_are_those_of_the_plan(answer, html):
    numbers = report_numbers(answer)
    json.dumps(numbers, allow_nan=False)
    capacity = answer.job.place.chip.hbm_bytes
    for shown, one in zip(numbers["proposals"], answer.plan.proposals, strict=True):
        assert shown["layout"] == one.layout.text()
        assert shown["step_s"]["middle"] == one.step_s.middle
        assert shown["memory_bytes"]["high"] == one.memory_bytes.high <= capacity
        assert sum(shown["terms_s"].values()) == pytest.approx(one.step_s.middle)
        assert sum(shown["memory_parts"].values()) == pytest.approx(one.memory_bytes.middle)
        assert f"<code>{one.layout.text()}</code>" in html
        assert f"<b>{one.step_s.middle:.3g} s</b>" in html
        assert shown["check"]["verdict"] == "ok"
    counted = numbers["candidates"]
    assert counted["counted"] == answer.plan.candidates
    fell = sum(numbers["rejected"].values())
    assert f"<td>{answer.plan.candidates - fell:,}</td>" in html
    # The first proposal is the fastest of all candidates that fit.
    fitting = [
        step
        for step, memory in zip(counted["step_s"], counted["memory_bytes"], strict=True)
        if memory <= capacity
    ]
    assert min(fitting) == pytest.approx(answer.plan.proposals[0].step_s.middle)


def test_mfu_is_needed_flops_over_the_peak():
    """6 N per token and causal attention, by hand for Llama 3.1 8B at 8,192 tokens."""
    job = job_of()
    matrices = 8_030_261_248 - 128_256 * 4096
    attention = 3 * 2 * 32 * 32 * (128 + 128) * 8192 / 2
    flops = (6 * matrices + attention) * 8192 * 128
    assert mfu(job, 10.0) == pytest.approx(flops / (10 * 32 * 197e12), rel=1e-3)


def test_products_have_the_intensity_of_their_shapes():
    job = job_of()
    by_name = {one["name"]: one for one in products(job, Layout(fsdp=16, tensor=2, micro_batch=1))}
    tokens, inner, outer = 8192, 4096, 14336 / 2
    moved = 2 * (tokens * inner + inner * outer + tokens * outer)
    assert by_name["MLP"]["flops"] == 2 * tokens * inner * outer
    assert by_name["MLP"]["intensity"] == pytest.approx(2 * tokens * inner * outer / moved)
    assert by_name["MLP"]["flops_per_s"] == job.place.chip.rate("bf16")
    # A decoded token reads every weight for one sequence: about 1 FLOP per byte, memory bound.
    serve = job_of(stage="serve", global_batch=1, seq_len=512, place="v5e:1x1")
    token = [one for one in products(serve, Layout()) if one["phase"] == "decode"]
    assert all(one["intensity"] == pytest.approx(1.0, rel=0.01) for one in token)
    rate = serve.place.chip.hbm_bytes_per_s
    assert token[0]["flops_per_s"] == pytest.approx(rate, rel=0.01)


def test_the_frontier_is_what_nothing_beats():
    random = np.random.default_rng(0)
    steps, memory = random.integers(1, 9, (2, 60)).astype(float)
    found = frontier(steps, memory)
    for row in range(60):
        better = (steps <= steps[row]) & (memory <= memory[row])
        better &= (steps < steps[row]) | (memory < memory[row])
        alike = (steps == steps[row]) & (memory == memory[row])
        assert not (found[row] and better.any())
        assert better.any() or found[alike].sum() == 1


def test_of_many_candidates_the_frontier_and_the_fastest_are_drawn():
    job = job_of("mixtral-8x7b", "h100:64", seq_len=4096, global_batch=256)
    answer = PlanReportInput(job, propose(job))
    numbers = report_numbers(answer)["candidates"]
    assert numbers["counted"] > 10_000
    assert len(numbers["step_s"]) <= MOST_POINTS + 200
    assert sum(numbers["is_frontier"]) > 3
    assert answer.plan.proposals[0].layout.text() in numbers["layout"]


@pytest.mark.parametrize(
    ("place", "pods", "layout"),
    [
        ("v6e:16x16", 1, Layout(fsdp=64, tensor=4)),
        ("v6e:16x16", 1, Layout(fsdp=16, tensor=16)),
        ("v5e:8x16", 1, Layout(fsdp=4, data=2, tensor=8, context=2)),
        ("v5p:4x4x8", 1, Layout(fsdp=32, tensor=4)),
        ("v5p:2x2x4", 1, Layout(fsdp=2, tensor=8)),
        ("v5p:4x4x8", 2, Layout(data=2, fsdp=16, tensor=8)),
    ],
)
def test_axes_lie_where_the_cost_model_puts_them(place, pods, layout):
    """Bandwidth and hops of what is drawn are those of `Slice.lay`, which prices collectives."""
    job = job_of(place=place, pods=pods, global_batch=256)
    drawn = {one.name: one for one in laid_axes(job, layout)}
    data_pods = math.gcd(layout.data, pods)
    sizes = (layout.tensor, layout.context, layout.expert, layout.fsdp, layout.data // data_pods)
    chip = job.place.chip
    for name, links in zip(
        ("tensor", "context", "expert", "fsdp", "data"), job.place.lay(sizes), strict=True
    ):
        parts = drawn[name].parts if name in drawn else ()
        rate = sum(2 * chip.link_bytes_per_s * (1 if one.is_ring else 0.5) for one in parts)
        assert rate == (links.bytes_per_s if math.isfinite(links.bytes_per_s) else 0)
        assert links.hops == sum(one.size / 2 if one.is_ring else one.size for one in parts)
    # Every chip of a pod has a place of its own.
    places = np.stack([one.places.reshape(-1) for one in drawn.values()], axis=1)
    assert len(np.unique(places, axis=0)) == job.place.chips // pods


def test_gpus_are_drawn_by_domain():
    job = job_of(place="h100:32", global_batch=64)
    axes = {one.name: one for one in laid_axes(job, Layout(tensor=8, fsdp=2, pipeline=2))}
    assert axes["tensor"].places[:9].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert where(axes["tensor"], job) == "inside an NVLink domain"
    assert where(axes["fsdp"], job) == "leaves the NVLink domain of 8"
    assert axes["pipeline"].places.tolist() == [0] * 16 + [1] * 16


def test_numbers_in_sentences_lead_to_their_evidence(answer, html):
    ids = re.findall(r"<a href='#(evidence-[^']+)'>", html)
    assert ids
    for one in ids:
        assert html.count(f"id='{one}'") == 1
    said = cited("1 s [step] <b> [unknown]", answer.diagnosis.evidence)
    assert "&lt;b&gt; [unknown]" in said
    assert "href='#evidence-step'" in said


def test_arrays_are_split_as_the_exported_mesh_says(html):
    assert "<th class='word'>parameter</th>" in html
    assert "class='chip'" in html
    assert "Activations" in html


def test_a_plan_that_fits_nowhere_has_a_page_with_the_chips_that_would_do():
    job = job_of("llama3.1-405b", "v5e:2x2", global_batch=8, seq_len=4096)
    plan = propose(job)
    page = render_report(PlanReportInput(job, plan))
    assert plan.infeasible.minimum_chips
    assert "No layout for llama3.1-405b on v5e:2x2: out of memory" in page
    assert f"<b>{plan.infeasible.minimum_chips:,}</b>" in page
    assert sections(page)[0] == "Why nothing is proposed"
    assert "Where the step goes" not in sections(page)


def test_nothing_legal_has_a_page_too():
    job = job_of(place="v5e:4x8", global_batch=1, seq_len=7)
    plan = propose(job)
    assert plan.candidates == 0
    page = render_report(PlanReportInput(job, plan))
    assert "no legal layout" in page
    assert "id='plotly'" not in page


@pytest.mark.parametrize(
    ("model", "place", "work"),
    [
        ("llama3.2-1b", "v5e:1x1", {"stage": "serve", "global_batch": 2, "seq_len": 512}),
        ("qwen3-30b-a3b", "v5p:2x4x4", {"global_batch": 64, "seq_len": 4096}),
        ("llama3.1-70b", "h100:8", {"stage": "serve", "seq_len": 2048}),
    ],
)
def test_other_stages_and_places_have_pages(model, place, work):
    job = job_of(model, place, **work)
    plan = propose(job)
    page = render_report(PlanReportInput(job, plan))
    assert plan.proposals
    assert plan.proposals[0].layout.text() in page
    is_serving = work.get("stage") == "serve"
    assert ("first token" in page) == is_serving
    assert f"predicted {'batch' if is_serving else 'step'}" in page


def test_text_from_outside_is_escaped(answer, html):
    scripts = re.findall(r"<script[^>]*>", html)
    assert len(scripts) == 3
    assert "<img" not in html.split("id='figures'")[0]
    named = answer.job.model.model_copy(update={"name": EVIL})
    page = render_report(replace(answer, job=Job(named, answer.job.workload, answer.job.place)))
    assert len(re.findall(r"<script[^>]*>", page)) == 3


@pytest.mark.stack
def test_a_browser_draws_the_page_without_complaint_and_runs_no_script_from_outside(
    answer, tmp_path
):
    named = answer.job.model.model_copy(update={"name": EVIL})
    op = Op(EVIL, "matmul", 0.5, 1e13, 1e10)
    evil = replace(
        answer, job=Job(named, answer.job.workload, answer.job.place),
        profile=replace(answer.profile, top_ops=(op,)),
    )  # fmt: skip
    file = tmp_path / "report.html"
    file.write_text(render_report(evil), encoding="utf-8")
    with chromium() as started:
        browser = new_browser(started, file.as_uri())
        browser.open()
        browser.wait("document.body.dataset.drawn === '6'")
        browser.picture("sharding-report")
        drawn = browser.page.locator(".chart .main-svg").count()
        assert drawn >= 6
        assert browser.complaints == []
        assert browser.page.evaluate("window.hacked") is None
        assert browser.asked == [file.as_uri()]
        assert [one for one in browser.texts("h2") if one] == sections(render_report(evil))
        shown = browser.page.locator("#pareto").evaluate("place => place.data[0].x.length")
        assert shown == len(report_numbers(evil)["candidates"]["step_s"])


@pytest.mark.stack
def test_tables_and_drawings_need_no_script(html, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(html, encoding="utf-8")
    with chromium() as started:
        page = started.new_context(java_script_enabled=False).new_page()
        page.goto(file.as_uri())
        assert page.locator("table").count() >= 8
        assert page.locator("svg rect").count() >= 32
        assert page.get_by_role("heading", name="What is proposed").is_visible()
        assert page.locator(".bar").count() == 3
