#!/usr/bin/env bash
# One run as an array of Slurm jobs. Each task is a shard; their reports are merged into one.
#
#   export TARGET=10.0.0.5:9000 SEED=7 RESULTS=$PWD/results
#   array=$(sbatch --parsable --array=0-9 deploy/slurm.sh --conns 190k --duration 60s)
#   sbatch --dependency=afterany:"$array" --wrap 'echo-tester merge results --json=merged.json'
#
# The arguments are flags of blast. TARGET is required, and all tasks need the same SEED. RESULTS is a folder that all
# nodes can write to. START_AT (such as 2026-01-31T12:00:00Z) lets the tasks begin together: choose a time at which all
# of them run; the clocks of the nodes must agree. ECHO_TESTER is the program (default: echo-tester on the PATH).
#SBATCH --job-name=echo-tester
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=1G
#SBATCH --time=00:30:00
set -euo pipefail
task=${SLURM_ARRAY_TASK_ID:?run it with sbatch --array=0-N} shards=${SLURM_ARRAY_TASK_COUNT:?no array}
first=${SLURM_ARRAY_TASK_MIN:-0} last=${SLURM_ARRAY_TASK_MAX:-$((shards - 1))} step=${SLURM_ARRAY_TASK_STEP:-1}
# Shards count from 0 in steps of 1; the array may start elsewhere and have larger steps.
shard=$(((task - first) / step))
if (((last - first) / step + 1 != shards)); then
    echo "the tasks $first to $last are $shards: name them as a range (--array=0-9), not as a list" >&2
    exit 2
fi
results=${RESULTS:-results}
mkdir -p "$results"
# A variable and not a flag, so that --workers among the arguments overrides it.
export ECHO_TESTER_WORKERS=${ECHO_TESTER_WORKERS:-${SLURM_CPUS_PER_TASK:-2}}
exec "${ECHO_TESTER:-echo-tester}" blast "${TARGET:?HOST:PORT of the server}" --seed "${SEED:?one seed for all tasks}" \
    --shard "$shard/$shards" ${START_AT:+--start-at "$START_AT"} --quiet --json="$results/shard-$shard.json" "$@"
