"""Ray Tune's part in a search, driven by hand, without a cluster."""

import json

from ray.tune.search import Searcher

from rllib_ext.member.segment import Segment
from search.training.segment_scheduler import ErrorNotes, SegmentScheduler, UntilOver, trial_name


class Trial:
    """What is read of a Tune trial."""

    def __init__(self, trial_id, config, error=None):
        self.trial_id, self.config, self.error, self.error_file = trial_id, config, error, None

    def get_error(self):
        return self.error


class Tune:
    """Tune's part: asks for trials, runs each to its end, an iteration in turn."""

    def __init__(self, search, slots):
        self.search = search
        self.told = 0
        self.scheduler = SegmentScheduler(search.coordinator, slots, self._count)
        self.notes = ErrorNotes(self.scheduler)
        self.most = 0
        self.names = []

    def _count(self):
        self.told += 1

    def run(self):
        running, number = {}, 0
        over = UntilOver(self.scheduler)
        while not over.stop_all():
            found = self.scheduler.suggest(f"t{number}")
            if found == Searcher.FINISHED:
                break
            if found is not None:
                segment = Segment.from_dict(json.loads(json.dumps(found)))
                self.names.append(trial_name(Trial(f"t{number}", found)))
                running[f"t{number}"] = segment, self.search.trainer.train(segment), found
                number += 1
                self.most = max(self.most, len(running))
                continue
            if not running:
                break
            for trial_id, (segment, iterations, config) in list(running.items()):
                try:
                    result, snapshot = next(iterations)
                except (RuntimeError, OSError) as error:
                    del running[trial_id]
                    self.scheduler.on_trial_complete(trial_id, error=True)
                    kind = type(error).__name__
                    trial = Trial(trial_id, config, f"Traceback:\n  x\n{kind}: {error}\n")
                    self.notes.on_trial_error(0, [], trial)
                    continue
                result = {**result, "snapshot": json.dumps(snapshot)}
                if result["env_steps"] >= segment.until_env_steps:
                    del running[trial_id]
                    self.scheduler.on_trial_complete(trial_id, result=result)
                else:
                    self.scheduler.on_trial_result(trial_id, result)
        return self
