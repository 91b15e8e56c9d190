# shellcheck shell=bash
# The hosts of perf/compare/fabric, which sources this and has a directory for files in $work: network namespaces on this machine, joined by one bridge, or by two with an uplink between them.
# Each host has one interface, eth0, with an address from 198.18.0.0/24 (set aside for measuring networks, RFC 2544), and no way out of the fabric.
#
#      host w0                     namespace sw: the switch
#   +-----------+             +-------------------------------+
#   |  eth0 ----|-- veth -----|- w0 --+-- br0 --- up0 = up1 --|--- br1 ...      (up0, up1: only with two racks)
#   |  tbf: out |             |  tbf: in                      |
#   +-----------+             +-------------------------------+
#
# A link is shaped by a token bucket at each end: at eth0 what the host sends, at the switch's port what it receives. The port's queue is the
# switch's buffer, where packets are lost when several senders meet. A bucket holds one packet as the kernel hands them over (64 KiB and its
# headers), or half a millisecond: less would cut the packets up and cost time on the processors, more would let a message's first bytes go for nothing.

NET_MARK=aggfab
NET_PREFIX=$NET_MARK$$-
net_hosts=()

net_say() { echo "fabric: $*" >&2; }

# "2.5G" as bits a second.
net_bps() {
  awk -v r="$1" 'BEGIN {
    unit["K"] = 1e3; unit["M"] = 1e6; unit["G"] = 1e9
    if (r !~ /^[0-9]+(\.[0-9]+)?[KMG]?$/ || r + 0 == 0) exit 1
    u = substr(r, length(r)); printf "%.0f", (r + 0) * (u in unit ? unit[u] : 1)
  }' || {
    net_say "rate $1: expected bits a second, as in 1G or 500M"
    return 1
  }
}

# host command...: runs it there, under the host's name. The process has the id of the caller's ($BASHPID).
net_exec() {
  local host=$1
  shift
  # shellcheck disable=SC2016  # for that shell
  exec ip netns exec "$NET_PREFIX$host" unshare --uts bash -c 'echo "$0" >/proc/sys/kernel/hostname; exec "$@"' "$host" "$@"
}
on() { (net_exec "$@"); }

net_address() { # of a host
  local i
  for ((i = 0; i < ${#net_hosts[@]}; i++)); do
    if [ "${net_hosts[i]}" = "$1" ]; then echo "198.18.0.$((i + 1))" && return; fi
  done
  return 1
}

net_tbf() { # namespace device rate_bps queue_bytes
  local burst=$(($3 / 8 / 2000))
  if ((burst < 72000)); then burst=72000; fi
  ip netns exec "$1" tc qdisc replace dev "$2" root tbf rate "$3bit" burst "$burst" limit $(($4 + burst))
}

# host rate_bps port_buffer. What a host sends waits at the host and is never lost there.
net_shape() {
  net_tbf "$NET_PREFIX$1" eth0 "$2" 16000000
  net_tbf "${NET_PREFIX}sw" "$1" "$2" "$3"
}

net_quiet() { # namespace: nothing on its links but what the programs send
  ip netns exec "$1" bash -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6'
  ip -n "$1" link set lo up
}

net_bridge() { # name
  local sw=${NET_PREFIX}sw
  ip -n "$sw" link add "$1" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
  ip -n "$sw" link set "$1" up
}

# host rack congestion_control: the latter by the route, since a namespace may set only those as its default that the machine allows to everybody
net_add_host() {
  local host=$1 sw=${NET_PREFIX}sw ns=$NET_PREFIX$1 address
  ip netns add "$ns"
  net_hosts+=("$host")
  net_quiet "$ns"
  address=$(net_address "$host")
  ip link add eth0 netns "$ns" type veth peer name "$host" netns "$sw"
  ip -n "$sw" link set "$host" master "br$2" up
  ip -n "$ns" link set eth0 up
  ip -n "$ns" address add "$address/32" dev eth0
  ip -n "$ns" route add 198.18.0.0/24 dev eth0 src "$address" congctl "$3"
}

# racks [uplink_bps port_buffer]
net_switch() {
  local sw=${NET_PREFIX}sw r
  ip netns add "$sw"
  net_quiet "$sw"
  for ((r = 0; r < $1; r++)); do net_bridge "br$r"; done
  if [ "$1" = 2 ]; then
    ip -n "$sw" link add up0 type veth peer name up1
    for r in 0 1; do
      ip -n "$sw" link set "up$r" master "br$r" up
      net_tbf "$sw" "up$r" "$2" "$3"
    done
  fi
}

# Segments sent again, and timeouts before that, on all hosts so far: two numbers.
net_losses() {
  local host
  for host in "${net_hosts[@]}"; do ip netns exec "$NET_PREFIX$host" cat /proc/net/snmp /proc/net/netstat; done | awk '
    { if ($1 == last) { for (i = 2; i <= NF; i++) sum[name[i]] += $i } else { split($0, name); last = $1; next } last = "" }
    END { print sum["RetransSegs"] + 0, sum["TCPTimeouts"] + 0 }'
}

# Ends what runs in the namespaces with this prefix, and removes them.
net_remove() {
  local ns pids try
  for ns in $(ip netns list | awk -v p="$1" 'index($1, p) == 1 { print $1 }'); do
    for try in KILL KILL KILL; do
      pids=$(ip netns pids "$ns" 2>/dev/null) || break
      [ -n "$pids" ] || break
      # shellcheck disable=SC2086  # a list of process ids
      kill -$try $pids 2>/dev/null || true
    done
    ip netns delete "$ns" || true
  done
}

# Namespaces whose run is not there any more: it was killed.
net_remove_stale() {
  local ns pid seen=''
  for ns in $(ip netns list | awk -v p="$NET_MARK" 'index($1, p) == 1 { print $1 }'); do
    pid=${ns#"$NET_MARK"}
    pid=${pid%%-*}
    if [[ ! $pid =~ ^[0-9]+$ ]] || [[ " $seen " == *" $pid "* ]]; then continue; fi
    if [ "$pid" != $$ ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q fabric; then continue; fi
    seen+=" $pid"
    net_say "removing what run $pid has left"
    net_remove "$NET_MARK$pid-"
    rm -rf "/tmp/agg-fabric.$pid".*
  done
}

# Payload in bits a second that TCP gets through, measured by iperf3: "from to" pairs, all at once, for a number of seconds. Prints the slowest.
net_rate() { # seconds from to [from to]...
  local seconds=$1 to i=0 clients=() servers=() rates
  shift
  # shellcheck disable=SC2154  # the caller's
  rm -f "$work"/iperf.*
  while [ $# -gt 0 ]; do
    to=$(net_address "$2")
    net_exec "$2" iperf3 -s -1 -p $((5201 + i)) >/dev/null 2>&1 &
    servers+=($!)
    until [ -n "$(ip netns exec "$NET_PREFIX$2" ss -Hltn "sport = :$((5201 + i))")" ]; do kill -0 "${servers[i]}" || return 1; done
    net_exec "$1" iperf3 -c "$to" -p $((5201 + i)) -t "$seconds" -O 0.5 -f k >"$work/iperf.$i" 2>&1 &
    clients+=($!)
    i=$((i + 1))
    shift 2
  done
  for i in "${!clients[@]}"; do
    wait "${clients[i]}" || true # what it says is looked at
    wait "${servers[i]}" || true
  done
  rates=$(awk '/receiver/ { for (i = 2; i <= NF; i++) if ($i == "Kbits/sec") print $(i - 1) * 1000 }' "$work"/iperf.* | sort -n)
  if [ "$(wc -w <<<"$rates")" != ${#clients[@]} ]; then
    cat "$work"/iperf.* >&2
    return 1
  fi
  head -n 1 <<<"$rates"
}
