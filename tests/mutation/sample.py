"""Keeps a random share of a cosmic-ray session's mutants: `python -m tests.mutation.sample SESSION COUNT`."""

from __future__ import annotations

import random
import sys
from typing import Any

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkItem, WorkResult


def place(item: WorkItem) -> tuple[Any, ...]:
    """Where in the code a mutant is; ids differ from session to session."""
    mutation = item.mutations[0]
    return str(mutation.module_path), mutation.start_pos, mutation.operator_name, mutation.occurrence


def main(session: str, count: int) -> None:
    with use_db(session, WorkDB.Mode.open) as database:
        mutants = sorted(database.pending_work_items, key=place)
        kept = {item.job_id for item in random.Random(0).sample(mutants, min(count, len(mutants)))}
        skipped = [item.job_id for item in mutants if item.job_id not in kept]
        database.set_multiple_results(skipped, WorkResult(WorkerOutcome.SKIPPED))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
