#!/bin/sh
# Slurm's controller forgets a job that it has accepted when it dies within some seconds, and gives its number to the next job.
#
# The guess: a number that sbatch has printed, with exit code 0, is on disk. After a crash of the controller the job is there, or is told
#   as lost; in any case its number is not given again.
# What was seen (Slurm 22.05.8 of Debian 12): slurmctld writes its state about five seconds after a change. Killed by SIGKILL at once, or
#   3 seconds after sbatch had printed "1", and started again, it knows no job 1, and the next sbatch prints "1" again. Killed 6 seconds after,
#   it knows the job. Nothing is logged of the loss.
# Why it hurts: a step of a pipeline that was submitted is never run, and nothing tells. What was said of the number before the crash is
#   now said of a job of somebody else: `--dependency=afterok:1` starts a merge behind a stranger's job, `scancel 1` ends it.
# A way around: look with squeue for the number and the name together before something rests on it, some ten seconds after sbatch.
#
# Needs Debian's slurm-wlm and munge, ends with 2 without them. It starts a Slurm of its own in a temporary folder, and ends it.
set -eu
PATH=$PATH:/usr/sbin
for program in slurmctld slurmd sbatch munged; do
    command -v "$program" >/dev/null || { echo "$program is missing (Debian: slurm-wlm, munge)"; exit 2; }
done
folder=$(mktemp -d)
chmod 755 "$folder"
munge= controller=
trap 'kill -9 $controller $munge 2>/dev/null || true; sleep 1; rm -rf "$folder"' EXIT
mkdir "$folder/state"
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
SlurmctldPidFile=$folder/slurmctld.pid
SlurmctldLogFile=$folder/log
ProctrackType=proctrack/linuxproc
NodeName=$host NodeAddr=127.0.0.1 Port=$(free)
PartitionName=all Nodes=ALL Default=YES State=UP
END
export SLURM_CONF="$folder/slurm.conf"
munged --foreground --key-file="$folder/key" --socket="$folder/socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/seed" 2>/dev/null &
munge=$!
begin() { slurmctld -D >/dev/null 2>&1 & controller=$!; until squeue >/dev/null 2>&1; do sleep 0.2; done; }
sleep 1
begin
slurmctld -V
echo "expected: after the crash the first job is there, and the second has another number"
for pause in 0 3 10; do
    first=$(sbatch --parsable --hold --job-name=first --wrap true)
    sleep "$pause"
    kill -9 "$controller"
    begin
    second=$(sbatch --parsable --hold --job-name=second --wrap true)
    known=$(squeue --noheader --jobs="$first" --format=%j 2>/dev/null || true)
    echo "killed after $pause s: the first job was $first, the second is $second; job $first is now called '$known'"
    if [ "$pause" -eq 10 ]; then wanted=first; else wanted=second; fi
    [ "$known" = "$wanted" ] || { echo "changed: Slurm"; exit 1; }
done
