#!/bin/sh
# A Slurm job that is requeued and told to start now, within the same second, ends as FAILED without having been started again.
#
# The guess: `scontrol requeue` puts a job back into the queue, `scontrol update StartTime=now` takes away the two minutes that it
#   would wait there; a node that cannot take it yet lets it wait, or it is requeued again.
# What was seen (Slurm 22.05.8 of Debian 12): the job goes to a node at once; the node refuses it, for the credential of its first run was
#   revoked in that second ("Job credential revoked" in the controller's log, and nowhere else); the job is FAILED, exit code 1:0, its script
#   never began a second time, and its output ends with what the first run wrote. Three seconds later the same two commands start it again.
# Why it hurts: a script or an administrator that requeues tasks of an array after a node was mended, and hurries them, loses them. They
#   count as failed by themselves, so `--dependency=afterok` never starts what should follow, and nobody finds a reason in their output.
# A way around: wait three seconds between the two commands, and look at the state some seconds later.
#
# Needs root, Debian's slurm-wlm and munge; ends with 2 without them. It starts a Slurm of its own in a temporary folder, and ends it.
set -eu
PATH=$PATH:/usr/sbin
[ "$(id -u)" -eq 0 ] || { echo "only root can start slurmd"; exit 2; }
for program in slurmctld slurmd sbatch munged; do
    command -v "$program" >/dev/null || { echo "$program is missing (Debian: slurm-wlm, munge)"; exit 2; }
done
folder=$(mktemp -d)
chmod 755 "$folder"
munge= controller= node=
trap 'scancel --user="$(id -un)" 2>/dev/null; sleep 2; kill -9 $node $controller $munge 2>/dev/null || true; sleep 1; rm -rf "$folder"' EXIT
mkdir "$folder/state" "$folder/spool"
head -c 1024 /dev/urandom > "$folder/key"
chmod 400 "$folder/key"
free() { python3 -c "import socket; one = socket.socket(); one.bind(('127.0.0.1', 0)); print(one.getsockname()[1])"; }
host=$(hostname -s)
cat > "$folder/slurm.conf" <<END
ClusterName=finding
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free)
SlurmUser=$(id -un)
AuthInfo=socket=$folder/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log
SlurmdLogFile=$folder/node.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 Port=$(free) CPUs=1
PartitionName=all Nodes=ALL Default=YES State=UP
END
export SLURM_CONF="$folder/slurm.conf"
munged --foreground --key-file="$folder/key" --socket="$folder/socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/seed" 2>/dev/null &
munge=$!
sleep 1
slurmctld -D >/dev/null 2>&1 & controller=$!
slurmd -D >/dev/null 2>&1 & node=$!
until [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ]; do sleep 0.2; done
slurmctld -V
state() { squeue --noheader --states=all --jobs="$1" --format=%T; }
reach() { for _ in $(seq 300); do [ "$(state "$1")" = "$2" ] && return; sleep 0.1; done; echo "job $1 is $(state "$1"), not $2"; exit 1; }
second() { until [ "$(date +%N | cut -c1)" = 1 ]; do sleep 0.02; done; }
echo "expected: both jobs run a second time"
for pause in 0 3; do
    job=$(cd "$folder" && sbatch --parsable --requeue --output="$folder/out-%j" --wrap 'echo began; [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || sleep 60')
    reach "$job" RUNNING
    until grep -qs began "$folder/out-$job"; do sleep 0.1; done
    second  # both commands within one second of the clock
    scontrol requeue "$job"
    reach "$job" PENDING
    sleep "$pause"
    scontrol update JobId="$job" StartTime=now
    if [ "$pause" -eq 0 ]; then wanted=FAILED; else wanted=COMPLETED; fi
    reach "$job" "$wanted"
    why=$(scontrol show job "$job" | grep -o 'ExitCode=[0-9:]*')
    echo "started $pause s after it was requeued: $wanted, $why"
done
grep -o 'Job credential revoked' "$folder/log" || { echo "changed: Slurm"; exit 1; }
