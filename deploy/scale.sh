#!/usr/bin/env bash
# More connections on one machine than one process can hold: by default ten server processes and ten client processes
# with 19,000 connections each. All are open at the same time, every byte is verified, and one merged report sums them
# up. The kernel's own count of sockets (ss), taken during the run, proves that they are open at once.
#
#   deploy/scale.sh [PROCESSES] [CONNECTIONS-OF-EACH]        (default: 10 19000)
#   deploy/scale.sh --plan [CONNECTIONS-OF-EACH]             says how many the machine holds, and opens nothing
#
# A run that the machine can't hold is refused, with the limit that it would meet (exit code 2); FORCE=1 tries it.
# Needs: Linux, GNU parallel and ss.
#
# ECHO_TESTER, SEED and RESULTS are as for parallel.sh. MODEL is the server's model (default: epoll), RATE the total
# messages per second (default: 10k), OPENING the seconds in which the connections are opened (default: 40), and OPEN
# the seconds until they close (default: 100).
set -euo pipefail

# ---- what the machine holds -----------------------------------------------------------------------------------------

# Bytes of a connection for both ends, with the kernel's part: 6.9 KiB were measured with a million open, 7.4 KiB with
# two million.
readonly bytes_of_connection=7600
# Bytes of a pair of processes, without connections, and descriptors that a process needs for other things.
readonly bytes_of_pair=$((16 << 20)) own_descriptors=100
# Source addresses that the client takes of 127.0.0.0/8 if the ports of one do not suffice.
readonly loopback_addresses=$((254 * 254))

# Reads one number from a file under /proc or /sys.
number() { sed -E '1q' "$1" | awk '{ print $1 }'; }
with_commas() { printf '%d' "$1" | sed -E ':a; s/^([0-9]+)([0-9]{3})/\1,\2/; ta'; }

# limit CONNECTIONS WHAT REMEDY: keeps the lowest limit in most, stops_by and remedy, and prints the row.
most='' stops_by='' remedy=''
limit() {
    local connections=$1
    ((connections > 0)) || connections=0
    printf '  %14s connections  %s\n' "$(with_commas "$connections")" "$2"
    if [[ -z $most ]] || ((connections < most)); then
        most=$connections stops_by=$2 remedy=$3
    fi
}

# What a process may open: its hard limit of descriptors, less those that it needs for other things.
hard=$(ulimit -Hn)
[[ $hard != unlimited ]] || hard=$(number /proc/sys/fs/nr_open)
readonly hard
readonly of_a_process=$((hard - own_descriptors))

# capacity EACH: prints each limit of the machine for processes of EACH connections, and sets most, stops_by, remedy.
capacity() {
    local each=$1 memory free_files used_files all_files low high pid_max processes_max
    memory=$(awk '/^MemAvailable:/ { printf "%.0f\n", $2 * 1024 }' /proc/meminfo)
    read -r used_files _ all_files </proc/sys/fs/file-nr
    free_files=$((all_files - used_files))
    read -r low high </proc/sys/net/ipv4/ip_local_port_range
    pid_max=$(number /proc/sys/kernel/pid_max)
    processes_max=$(ulimit -u)
    [[ $processes_max != unlimited ]] && ((processes_max < pid_max)) || processes_max=$pid_max

    echo "this machine, with $(with_commas "$each") connections in each process:"
    # A pair of processes has some memory of its own, shared out over its connections.
    limit $((memory / (bytes_of_connection + bytes_of_pair / each))) \
        "memory: $((memory >> 20)) MiB are available, a connection takes some $bytes_of_connection bytes" \
        "open fewer, or add memory"
    limit $((free_files / 2)) "descriptors of the machine (fs.file-max: $all_files), two for each connection" \
        "as root: sysctl fs.file-max=$((all_files * 2))"
    limit $(((high - low + 1) * loopback_addresses)) \
        "source ports: $((high - low + 1)) for each of the addresses of 127.0.0.0/8" \
        "as root: sysctl net.ipv4.ip_local_port_range='1024 65535'"
    # Each process has up to four threads.
    limit $((processes_max / 8 * each)) "processes and threads ($processes_max)" "raise ulimit -u"
}

if [[ ${1-} = --plan ]]; then
    each=${2:-19000}
    if ((each > of_a_process)); then
        echo "a process may open $hard descriptors (ulimit -Hn), so it takes $of_a_process connections, not $each"
        each=$of_a_process
    fi
    capacity "$each"
    echo "it holds $(with_commas "$most"): $(((most + each - 1) / each)) server and as many client processes"
    echo "what stops it: $stops_by"
    echo "to go further: $remedy"
    exit 0
fi

processes=${1:-10} each=${2:-19000}
for count in "$processes" "$each"; do
    if ! [[ $count =~ ^[1-9][0-9]*$ ]]; then
        echo "deploy/scale.sh: '$count' is no count, see the head of the file" >&2
        exit 2
    fi
done
conns=$((processes * each)) opening=${OPENING:-40} open=${OPEN:-100}
if ((each > of_a_process)); then
    {
        echo "deploy/scale.sh: $each connections are more than the $of_a_process that fit into one process"
        echo "what stops it: descriptors of a process (ulimit -Hn: $hard)"
        echo "to go further: more processes with fewer connections each, or a higher hard limit"
    } >&2
    exit 2
fi
capacity "$each"
if ((conns > most)) && [[ ${FORCE-} != 1 ]]; then
    {
        echo "deploy/scale.sh: $(with_commas "$conns") connections are more than the $(with_commas "$most") that fit"
        echo "what stops it: $stops_by"
        echo "to go further: $remedy (or FORCE=1, to try it)"
    } >&2
    exit 2
fi

# ---- the run --------------------------------------------------------------------------------------------------------

program=${ECHO_TESTER:-echo-tester} model=${MODEL:-epoll}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
results=${RESULTS:-$(mktemp -d)}
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
