"""Traces in MLflow, written after the fact with times of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tasks.track.store import TraceRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Span, TraceInfo

_PREVIEW = 1_000


def write_trace(client: MlflowClient, run_id: str, record: TraceRecord) -> None:
    """Write a trace and link it to a run; one that is there already is left as it is."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracing.client import TracingClient

    tracing = TracingClient(client.tracking_uri)
    experiment_id = client.get_run(run_id).info.experiment_id
    try:
        tracing.start_trace(_info(record, experiment_id, run_id))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tracing.log_spans(experiment_id, [_span(record, place) for place in range(len(record.spans))])
    client.link_traces_to_run([record.id], run_id)


def _info(record: TraceRecord, experiment_id: str, run_id: str) -> TraceInfo:
    from mlflow.entities import TraceInfo
    from mlflow.entities.trace_location import TraceLocation
    from mlflow.entities.trace_state import TraceState

    root = record.spans[0]
    return TraceInfo(
        trace_id=record.id,
        trace_location=TraceLocation.from_experiment_id(experiment_id),
        request_time=root["start_ns"] // 1_000_000,
        execution_duration=(root["end_ns"] - root["start_ns"]) // 1_000_000,
        state=TraceState.OK if root["is_ok"] else TraceState.ERROR,
        request_preview=_text(root["inputs"])[:_PREVIEW],
        response_preview=_text(root["outputs"])[:_PREVIEW],
        trace_metadata={"mlflow.sourceRun": run_id},
        tags={"mlflow.traceName": str(root["name"]), **record.tags},
    )


def _span(record: TraceRecord, place: int) -> Span:
    from mlflow.entities import Span

    span = record.spans[place]
    attributes: dict[str, Any] = {
        "mlflow.traceRequestId": record.id,
        "mlflow.spanType": span["kind"],
        "mlflow.spanInputs": span["inputs"],
        "mlflow.spanOutputs": span["outputs"],
        **span["attributes"],
    }
    return Span.from_dict(
        {
            "trace_id": record.id,
            "span_id": _span_id(place),
            "parent_span_id": None if span["parent"] is None else _span_id(span["parent"]),
            "name": span["name"],
            "start_time_unix_nano": span["start_ns"],
            "end_time_unix_nano": max(span["end_ns"], span["start_ns"]),
            "status": {"code": "OK" if span["is_ok"] else "ERROR", "message": ""},
            "attributes": {
                key: json.dumps(value, default=str)
                for key, value in attributes.items()
                if value is not None
            },
            "events": [],
        }
    )


def _span_id(place: int) -> str:
    return f"{place + 1:016x}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
