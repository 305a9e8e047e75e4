"""A cluster open on Celery that answers what it is asked: reads [method, arguments] a line."""

import json
import sys
from typing import Any

import tasktools as tt

dsn, management_url = sys.argv[1:]


def answer(cluster: tt.Cluster) -> dict[str, Any]:
    """Return the workers with their processes and queues, the tasks that run, and the failures."""
    workers = cluster.workers()
    workers = workers[workers["state"] == "alive"]
    tasks = cluster.active_tasks(queued=False)
    return {
        "workers": {
            row["worker_id"]: [row["capacity"], sorted(row["topics"])]
            for row in workers.to_dict("records")
        },
        "running": tasks.loc[tasks["state"] == "running", "task_id"].tolist(),
        "failed": cluster.failures()["task_id"].tolist(),
    }


def depths(cluster: tt.Cluster) -> dict[str, int]:
    """Return how many messages are in each queue of a worker, ready or not acknowledged."""
    topics = cluster.topics()
    topics = topics[topics["subscribers"].fillna(0) > 0].set_index("topic")
    return {name: int(row["queued"] + row["unacked"]) for name, row in topics.iterrows()}


def seen(cluster: tt.Cluster) -> tuple[int, int]:
    """Return how many tasks of simulated workers have ended, and how many failures there are."""
    workers = cluster.workers()
    simulated = workers.loc[workers["worker_id"].str.startswith("sim-"), ["succeeded", "failed"]]
    return int(simulated.fillna(0).to_numpy().sum()), len(cluster.failures())


METHODS = {"answer": answer, "depths": depths, "seen": seen}
with tt.connect(dsn, management_url=management_url) as opened:
    print("ready", flush=True)
    for line in sys.stdin:
        method, _ = json.loads(line)
        print("answer " + json.dumps(METHODS[method](opened), default=int), flush=True)
