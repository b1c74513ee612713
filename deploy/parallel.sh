#!/usr/bin/env bash
# Several client processes on one machine as one run, started by GNU parallel, and one merged report.
#
#   deploy/parallel.sh PROCESSES HOST:PORT [flags of blast]
#   deploy/parallel.sh 4 127.0.0.1:9000 --conns 60k --duration 30s
#
# ECHO_TESTER is the program (default: echo-tester on the PATH), SEED the seed (default: drawn), RESULTS the folder of
# the reports (default: a new one), WAIT the seconds until they begin together (default: 2).
# The exit code is that of the merged report. Several hosts: parallel's --sshloginfile, with clocks that agree.
set -euo pipefail
processes=${1:?how many processes} target=${2:?HOST:PORT}
shift 2
export program=${ECHO_TESTER:-echo-tester} target
export seed=${SEED:-$(od -An -N6 -tu8 /dev/urandom | tr -d ' ')}
export results=${RESULTS:-$(mktemp -d)} processes
start_at=$(date -u -d "+${WAIT:-2} seconds" +%Y-%m-%dT%H:%M:%SZ)
export start_at
mkdir -p "$results"

# Each writes its report whatever it comes to; what counts is the sum.
one() {
    local shard=$1
    shift
    rm -f "$results/$shard.json"
    "$program" blast "$target" --seed "$seed" --shard "$shard/$processes" --start-at "$start_at" --quiet \
        --json="$results/$shard.json" "$@" >"$results/$shard.txt" 2>&1 || true
}
export -f one
# What parallel runs 'one' with; only bash knows an exported function.
export PARALLEL_SHELL=$BASH
# --jobs 0 would start as many as it can: all shards must run at the same time.
parallel --will-cite --jobs "$processes" one {} "${@@Q}" ::: $(seq 0 $((processes - 1)))
echo "seed $seed, $processes processes, reports in $results"
# The shards by name: the folder may hold more.
files=()
for ((shard = 0; shard < processes; shard++)); do
    [[ -s $results/$shard.json ]] || { cat "$results/$shard.txt"; continue; }
    files+=("$results/$shard.json")
done
[[ ${#files[@]} -gt 0 ]] || { echo "no process wrote a report" >&2; exit 4; }
"$program" merge "${files[@]}" --json="$results/merged.json"
