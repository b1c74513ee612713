#!/usr/bin/env bash
# Runs several client processes on one machine as one run, with GNU parallel, and merges their reports.
#
#   deploy/parallel.sh PROCESSES HOST:PORT [flags of blast]
#   deploy/parallel.sh 4 127.0.0.1:9000 --conns 60k --duration 30s
#
# ECHO_TESTER is the program (default: echo-tester on the PATH), SEED the seed (default: random), RESULTS the folder for
# the reports (default: a new one), WAIT the seconds until the processes begin together (default: 2).
# The exit code is that of the merged report. For several hosts whose clocks agree, see parallel's --sshloginfile.
set -euo pipefail
processes=${1:?how many processes} target=${2:?HOST:PORT}
shift 2
export program=${ECHO_TESTER:-echo-tester} target
export seed=${SEED:-$(od -An -N6 -tu8 /dev/urandom | tr -d ' ')}
export results=${RESULTS:-$(mktemp -d)} processes
start_at=$(date -u -d "+${WAIT:-2} seconds" +%Y-%m-%dT%H:%M:%SZ)
export start_at
mkdir -p "$results"

# Runs one shard. Its exit code is ignored, because the merged report decides.
one() {
    local shard=$1
    shift
    rm -f "$results/$shard.json"
    "$program" blast "$target" --seed "$seed" --shard "$shard/$processes" --start-at "$start_at" --quiet \
        --json="$results/$shard.json" "$@" >"$results/$shard.txt" 2>&1 || true
}
export -f one
# Makes parallel run 'one' with bash, because other shells do not know an exported function.
export PARALLEL_SHELL=$BASH
# All shards must run at the same time; --jobs 0 would start only as many as the machine allows.
parallel --will-cite --jobs "$processes" one {} "${@@Q}" ::: $(seq 0 $((processes - 1)))
echo "seed $seed, $processes processes, reports in $results"
# The shards by name, because the folder may contain other files.
files=()
for ((shard = 0; shard < processes; shard++)); do
    [[ -s $results/$shard.json ]] || { cat "$results/$shard.txt"; continue; }
    files+=("$results/$shard.json")
done
[[ ${#files[@]} -gt 0 ]] || { echo "no process wrote a report" >&2; exit 4; }
"$program" merge "${files[@]}" --json="$results/merged.json"
