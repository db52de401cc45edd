"""What is known of a job by the variables that its batch system sets."""

import pytest

from dicomsort.system.batch_jobs import ArrayTask, array_task, job_id

SLURM = {
    "SLURM_JOB_ID": "107", "SLURM_ARRAY_JOB_ID": "100", "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "7", "SLURM_ARRAY_TASK_STEP": "4",
    "SLURM_ARRAY_TASK_COUNT": "2",
}  # fmt: skip
GRID_ENGINE = {
    "JOB_ID": "55", "SGE_TASK_ID": "4", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "16", "SGE_TASK_STEPSIZE": "1"
}  # fmt: skip
NO_ARRAY = {
    "Grid Engine": {"JOB_ID": "55", "SGE_TASK_ID": "undefined", "SGE_TASK_LAST": "undefined"},
    "LSF": {"LSB_JOBID": "9", "LSB_JOBINDEX": "0"},
    "Slurm": {"SLURM_JOB_ID": "12"},
    "PBS": {"PBS_JOBID": "8.head"},
    "none": {},
    "no number": {"SLURM_ARRAY_TASK_ID": "seven"},
}


@pytest.mark.parametrize(
    ("environment", "task", "job"),
    [
        (SLURM, ArrayTask("Slurm", 7, 3, 7, 4, 2), "Slurm 100_7"),
        (GRID_ENGINE, ArrayTask("Grid Engine", 4, 1, 16, 1, 16), "Grid Engine 55_4"),
        ({"LSB_JOBID": "9", "LSB_JOBINDEX": "3"}, ArrayTask("LSF", 3), "LSF 9_3"),
        ({"PBS_JOBID": "8[2].head", "PBS_ARRAY_INDEX": "2"}, ArrayTask("PBS", 2), "PBS 8[2].head"),
        ({"PBS_JOBID": "8-2.head", "PBS_ARRAYID": "2"}, ArrayTask("PBS", 2), "PBS 8-2.head"),
        (
            {"JOB_COMPLETION_INDEX": "0", "HOSTNAME": "sort-0-x7k2p"},
            ArrayTask("Kubernetes", 0),
            "Kubernetes sort-0-x7k2p",
        ),
    ],
)
def test_a_task_of_an_array_knows_its_number(environment: dict[str, str], task: ArrayTask, job: str) -> None:
    assert array_task(environment) == task
    assert job_id(environment) == job


@pytest.mark.parametrize(
    ("system", "job"),
    [
        ("Grid Engine", "Grid Engine 55"), ("LSF", "LSF 9"), ("Slurm", "Slurm 12"), ("PBS", "PBS 8.head"),
        ("none", ""), ("no number", ""),
    ],
)  # fmt: skip
def test_a_job_of_its_own_belongs_to_no_array(system: str, job: str) -> None:
    assert array_task(NO_ARRAY[system]) is None
    assert job_id(NO_ARRAY[system]) == job


def test_a_variable_that_anybody_may_have_set_is_no_job() -> None:
    assert job_id({"JOB_ID": "55", "HOSTNAME": "desk", "JOB_NAME": "x"}) == ""


def test_the_span_of_an_array_counts_its_steps() -> None:
    assert ArrayTask("Slurm", 2, 0, 30).span(2) == 16
    assert ArrayTask("Slurm", 3, 3, 3).span(1) == 1
    assert ArrayTask("PBS", 3).span(1) is None
