#!/usr/bin/env bash
# More connections on one machine than one process can hold: by default ten server processes and ten client processes
# with 19,000 connections each. All 190,000 are open at the same time, every byte is verified, and one merged report
# sums them up.
#
#   deploy/190000.sh [PROCESSES] [CONNECTIONS-OF-EACH]        (default: 10 19000)
#
# The kernel's own count of sockets (ss), taken during the run, proves that they are open at once. Needs: Linux, GNU
# parallel, ss, a hard descriptor limit above the connections of each process ('ulimit -Hn'), and about 14 KiB of memory
# per connection for both ends, the kernel's included.
#
# ECHO_TESTER, SEED and RESULTS are as for parallel.sh. MODEL is the server's model (default: epoll), RATE the total
# messages per second (default: 10k), OPENING the seconds in which the connections are opened (default: 40), and OPEN
# the seconds until they close (default: 100).
set -euo pipefail
processes=${1:-10} each=${2:-19000}
program=${ECHO_TESTER:-echo-tester} model=${MODEL:-epoll}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
results=${RESULTS:-$(mktemp -d)}
conns=$((processes * each)) opening=${OPENING:-40} open=${OPEN:-100}
mkdir -p "$results"

# All servers share one address: with SO_REUSEPORT the kernel spreads the connections over them.
servers=()
stop() {
    [[ ${#servers[@]} = 0 ]] || kill "${servers[@]}" 2>/dev/null || true
    wait
}
trap stop EXIT
serve() { "$program" serve --model "$model" --workers 1 --reuse-port --json "$@" & servers+=($!); }
serve --bind 127.0.0.1:0 >"$results/server-0.txt"
until [[ -s $results/server-0.txt ]]; do sleep 0.1; done
address=$(sed -E '1!d; s/.*"address":"([^"]+)".*/\1/' "$results/server-0.txt")
for ((n = 1; n < processes; n++)); do
    serve --bind "$address" >"$results/server-$n.txt"
    until [[ -s $results/server-$n.txt ]]; do sleep 0.1; done
done
echo "$processes servers ($model) on $address"

# Records the kernel's counts until the clients have ended: the sockets of these servers, and (ss -s) all sockets of the
# machine, where each connection counts twice.
watch() {
    while sleep 3; do
        mine=$(ss -Hnt state established "sport = :${address##*:}" | wc -l)
        all=$(ss -Hs | sed -nE 's/^TCP:.*estab ([0-9]+).*/\1/p')
        free=$(sed -nE 's/^MemAvailable: *([0-9]+) kB/\1/p' /proc/meminfo)
        echo "$(date -u +%T) established: $mine connections; ss -s: $all sockets; free memory: $((free / 1024)) MiB"
    done
}
watch >"$results/sockets.txt" &
servers+=($!)

export RESULTS=$results ECHO_TESTER=$program
code=0
"$here/parallel.sh" "$processes" "$address" --conns "$conns" --workers 1 --ramp "${opening}s" --duration "${open}s" \
    --rate "${RATE:-10k}" --size 64 --fragment off --connect-timeout 60s --stall-timeout 60s || code=$?

most=$(sed -E 's/.*established: ([0-9]+) .*/\1/' "$results/sockets.txt" | sort -n | tail -1)
echo
echo "open at the same time: $most of $conns connections"
grep -m1 "established: $most " "$results/sockets.txt"
[[ $code = 0 && $most -ge $conns ]] || exit "$((code ? code : 1))"
