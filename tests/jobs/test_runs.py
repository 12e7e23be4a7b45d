import json
import shutil

import pytest

from chains.errors import SettingsError, UsageError
from chains.tracking import connect
from jobs.runs import LoggedRun, Runs, RunsConf, compared, runs_json

# SQLAlchemy, about MLflow's tables.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


@pytest.fixture
def kept(tmp_path, empty_store):
    """Return the runs of an experiment that is not there yet."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    conf = {"mlflow": {"experiment": "summaries"}, "work_dir": tmp_path}
    return Runs(RunsConf.model_validate(conf))


def test_a_run_is_found_by_the_beginning_of_its_id_or_as_the_last(kept):
    store = connect(kept.store)
    experiment = store.create_experiment("summaries")
    for time, id in enumerate(("ab12", "ab34", "cd56"), start=1):
        tags = {"gristmill_run_id": id, "gristmill_job": "batch"}
        store.create_run(experiment, tags=tags, start_time=time)
    store.create_run(experiment)  # of another tool
    assert kept.find("last").run_id == "cd56"
    assert kept.find("ab1").run_id == "ab12"
    assert [it.run_id for it in kept.newest(10)] == ["cd56", "ab34", "ab12"]
    assert [it.run_id for it in kept.newest(1)] == ["cd56"]
    told = {"ab": "write more of it", "ef": "none in", "a' OR '": "expected a run id"}
    for wanted, message in told.items():
        with pytest.raises(UsageError, match=message):
            kept.find(wanted)


def test_a_run_without_an_end_has_no_record(kept):
    store = connect(kept.store)
    tags = {"gristmill_run_id": "ab12", "gristmill_job": "batch"}
    store.create_run(store.create_experiment("summaries"), tags=tags)
    run = kept.find("last")
    assert (run.state, run.seconds, kept.record(run)) == ("RUNNING", None, None)


def test_what_is_not_there_is_told(tmp_path, kept):
    with pytest.raises(SettingsError, match="expected experiment 'summaries', found none"):
        kept.newest(1)
    with pytest.raises(SettingsError, match=r"mlflow\.experiment: expected the experiment"):
        Runs(RunsConf(work_dir=tmp_path))
    (tmp_path / "mlflow.db").unlink()
    with pytest.raises(SettingsError, match="expected a database, found no such file"):
        kept.newest(1)
    assert not (tmp_path / "mlflow.db").exists()


def test_of_two_runs_is_shown_what_differs():
    first = a_run({"rows": 10, "cost": 2.0}, {"on_error": "record", "work_dir": "w"})
    second = a_run({"rows": 5, "hits": 3}, {"on_error": "fail", "work_dir": "w", "prices": "p"})
    found = compared(first, second)
    assert found.settings == {"on_error": ("record", "fail"), "prices": (None, "p")}
    assert found.about == {}
    assert {name: it.ratio for name, it in found.numbers.items()} == {
        "rows": 0.5,
        "cost": None,
        "hits": None,
    }
    assert json.loads(found.json())["numbers"]["hits"]["second"] == 3
    assert json.loads(runs_json([first]))[0]["numbers"]["cost"] == 2.0


def a_run(numbers, settings):
    about = {"model": "m@1"}
    return LoggedRun("ab12", "cd", "batch", "FINISHED", "2026-01-01", 1.0, numbers, settings, about)
