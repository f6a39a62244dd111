"""What trackers wrote, read back without them: TensorBoard's event files and W&B's offline runs."""

import json
import struct

from tensorboardX.proto import event_pb2

# Of the log that LevelDB introduced: blocks, and records cut where a block ends.
BLOCK, HEADER = 32_768, 7
FULL, LAST = 1, 4


def events_in(folder):
    """(step, figures, texts) of each event of a run, in the order in which they were written."""
    found = []
    for file in sorted(folder.glob("events*")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            # Length (8 bytes), its checksum (4), the event, its checksum (4).
            (length,) = struct.unpack("<Q", data[at : at + 8])
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            values = event.summary.value
            if not values:
                continue
            texts = {v.tag: v.tensor.string_val[0].decode() for v in values if v.tensor.string_val}
            figures = {v.tag: v.simple_value for v in values if not v.tensor.string_val}
            found.append((event.step, figures, texts))
    return found


def wandb_run_in(file):
    """What an offline run of W&B holds: its description, configuration, history and metrics."""
    from wandb.proto import wandb_internal_pb2

    found = {"config": {}, "history": [], "metrics": {}}
    for record in _records(file.read_bytes()):
        parsed = wandb_internal_pb2.Record.FromString(record)
        match parsed.WhichOneof("record_type"):
            case "run":
                run = parsed.run
                found |= {"id": run.run_id, "name": run.display_name, "group": run.run_group}
                found |= {"project": run.project}
            case "config":
                items = parsed.config.update
                found["config"] |= {
                    item.key or ".".join(item.nested_key): json.loads(item.value_json)
                    for item in items
                }
            case "history":
                items = parsed.history.item
                found["history"].append(
                    {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
                )
            case "metric":
                found["metrics"][parsed.metric.name or parsed.metric.glob_name] = (
                    parsed.metric.step_metric
                )
    return found


def _records(data):
    at, whole = HEADER, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        whole += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            yield whole
            whole = b""
