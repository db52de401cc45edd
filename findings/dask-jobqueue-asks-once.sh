#!/bin/sh
# A cluster of dask-jobqueue that adapts asks for a worker once: if the batch system refuses that one time, none ever comes.
#
# The guess: `cluster.adapt(minimum=0)` looks each second how many workers are wanted, so a job that could not be submitted because the
#   controller was busy is submitted again.
# What was seen (dask-jobqueue 0.9.0, distributed 2026.8.0, Python 3.11.7): sbatch fails once with "Socket timed out on send/recv operation", which
#   is logged. From then on the worker counts as requested; sbatch is not called again, and the work waits for ever. With `scale(1)` in
#   place of `adapt` it is called a second time, and the worker comes.
# Why it hurts: busy controllers time out each day. A run that waits over a weekend for its first worker looks as one in a full queue.
# A way around: hold `cluster.observed` against `cluster.plan`, and after some minutes `scale(0)` and `adapt` again; or `scale`.
set -eu
folder=$(mktemp -d)
trap 'pkill -f "$folder/job" || true; sleep 1; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dask-jobqueue==0.9.0 distributed==2026.8.0
mkdir "$folder/bin"
cat > "$folder/bin/sbatch" <<'EOF2'
#!/bin/sh
# Stands for Slurm's: refuses the first job, and runs each further one on this machine.
echo "$1" >> "$FOLDER/asked"
if [ "$(wc -l < "$FOLDER/asked")" -eq 1 ]; then
    echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
    exit 1
fi
cp "$1" "$FOLDER/job.sh"
setsid sh "$FOLDER/job.sh" > "$FOLDER/log" 2>&1 < /dev/null &
echo "Submitted batch job 1"
EOF2
printf '#!/bin/sh\n' > "$folder/bin/scancel"
chmod +x "$folder/bin/sbatch" "$folder/bin/scancel"
cat > "$folder/show.py" <<'EOF2'
import os
import pathlib
import sys

import dask_jobqueue
import distributed

HOW, FOLDER = sys.argv[1], pathlib.Path(os.environ["FOLDER"])
if __name__ == "__main__":
    options = {"dashboard_address": None}
    cluster = dask_jobqueue.SLURMCluster(
        cores=1, memory="1GB", interface="lo", scheduler_options=options, local_directory=str(FOLDER / "job")
    )
    cluster.adapt(minimum=0, maximum=2) if HOW == "adapt" else cluster.scale(1)
    try:
        distributed.Client(cluster).submit(os.getpid).result(timeout=60)
        came = "the work is done"
    except TimeoutError:
        came = "nothing is done after 60 s"
    asked = len((FOLDER / "asked").read_text().splitlines())
    print(f"{HOW}: sbatch was called {asked} times, {came}; wanted: {len(cluster.plan)} worker", flush=True)
    os._exit(0 if (asked == 1) == (HOW == "adapt") else 3)
EOF2
"$folder/venv/bin/python" -c "import dask_jobqueue, distributed, sys
print('dask-jobqueue', dask_jobqueue.__version__, 'distributed', distributed.__version__, 'Python', sys.version.split()[0])"
echo "expected: sbatch is called again, and the work is done"
for how in scale adapt; do
    rm -f "$folder/asked"
    FOLDER=$folder DASK_CONFIG=$folder/config PATH=$folder/bin:$PATH "$folder/venv/bin/python" "$folder/show.py" "$how" 2>"$folder/$how.log" ||
        { cat "$folder/$how.log"; echo "changed: dask-jobqueue"; exit 1; }
done
