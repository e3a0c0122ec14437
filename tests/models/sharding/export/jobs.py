"""Jobs of every kind that exports are tried on, and their legal layouts."""

from functools import cache

from models.sharding import Job, LayoutTable, Slice, Workload, find_model
from models.sharding.space import enumerate_layouts


def job(model="llama3.1-8b", place="h100:16", batch=64, seq_len=4096, pods=1, **work):
    """Make a job."""
    return Job(
        find_model(model),
        Workload(seq_len=seq_len, global_batch=batch, **work),
        Slice.parse(place, pods),
    )


JOBS = {
    "dense on a torus": job("llama3.1-70b", "v6e:16x16", 1280, 8192),
    "experts on a torus": job("mixtral-8x22b", "v6e:16x16", 256),
    "pods": job("llama3.1-8b", "v5e:16x16", 1024, pods=4),
    "two devices per chip": job("llama3.1-70b", "tpu7x:4x4x4", 512, compute="fp8"),
    "uneven torus": job("llama3.1-8b", "v5p:4x4x12", 384),
    "dense on GPUs": job("llama3.1-70b", "h100:64", 256, 8192),
    "experts on GPUs": job("mixtral-8x7b", "h100:32", 128, compute="fp8"),
    "odd layers on GPUs": job("llama3.1-405b", "h100:256", 252, 8192),
    "small fine-tuning": job("qwen3-8b", "b200:8", 32, stage="finetune"),
    "serving": job("llama3.1-70b", "h100:8", 64, 1024, stage="serve"),
    "serving experts": job("qwen3-30b-a3b", "h100:8", 64, 1024, stage="serve"),
    "serving on a torus": job("llama3.1-8b", "v5e:2x4", 16, 1024, stage="serve"),
}


@cache
def layouts(name: str) -> LayoutTable:
    """Return the legal layouts of a job, splits of `fsdp_transpose` among them."""
    return enumerate_layouts(JOBS[name], with_transpose=name == "experts on a torus")
