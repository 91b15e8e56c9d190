# shellcheck shell=bash
# Sourced by the guest's first process and by jobs (. "$GUEST_LIB"): hosts, their devices and addresses, faults, and what RDMA objects are left.
# Set by the guest: BED (uml, qemu), KERNEL, HOSTS, RAILS (devices per host), DRIVER (rxe, siw), OUT. Host K, rail R: network device ethR with address
# 10.0.R.(K+1), RDMA device rxeK (rail 0), rxeKb, rxeKc, ... On qemu there is one host, in the first namespace.

rail_letters=('' b c d e f g h)
device() { echo "$DRIVER$1${rail_letters[${2:-0}]}"; } # K [R]
address() { echo "10.0.${2:-0}.$(($1 + 1))"; }         # K [R]

# on K command...: runs it on host K
on() {
  local host=${1#h}
  shift
  if [ "$BED" = qemu ]; then "$@"; else ip netns exec "h$host" "$@"; fi
}

# Called by the guest's first process. Lines for ip and rdma in few batches: starting a program is what costs time here.
make_hosts() {
  local k r
  if [ "$BED" = qemu ]; then
    for ((r = 0; r < RAILS; r++)); do
      echo "link add eth$r type dummy"
      echo "link set eth$r mtu 9000 up"
      echo "addr add $(address 0 "$r")/24 dev eth$r"
    done | ip -batch -
    add_devices 0 | rdma -b /dev/stdin
    return
  fi
  # siw's devices cannot move to a namespace: there each host sees the devices of all, and uses its own.
  if [ "$DRIVER" = rxe ]; then rdma system set netns exclusive; fi
  {
    for ((r = 0; r < RAILS; r++)); do
      echo "link add br$r type bridge"
      echo "link set br$r mtu 9000 up"
    done
    for ((k = 0; k < HOSTS; k++)); do
      echo "netns add h$k"
      for ((r = 0; r < RAILS; r++)); do
        echo "link add v$k.$r mtu 9000 type veth peer name eth$r netns h$k mtu 9000"
        echo "link set v$k.$r master br$r up"
      done
    done
  } | ip -batch -
  for ((k = 0; k < HOSTS; k++)); do
    {
      echo 'link set lo up'
      for ((r = 0; r < RAILS; r++)); do
        echo "addr add $(address "$k" "$r")/24 dev eth$r"
        echo "link set eth$r up"
      done
    } | ip -n "h$k" -batch -
    for ((r = 0; r < RAILS; r++)); do
      echo "qdisc add dev eth$r clsact"
      echo "filter add dev eth$r egress protocol all prio 1 u32 match u32 0 0 action pass index $((r + 1))"
    done | on "$k" tc -batch -
    add_devices "$k" | on "$k" rdma -b /dev/stdin
  done
  [ "$DRIVER" = siw ] || for ((k = 0; k < HOSTS; k++)); do
    for ((r = 0; r < RAILS; r++)); do echo "dev set $(device "$k" "$r") netns h$k"; done
  done | rdma -b /dev/stdin
}
add_devices() { # K
  local r
  for ((r = 0; r < RAILS; r++)); do echo "link add $(device "$1" "$r") type $DRIVER netdev eth$r"; done
}

# ---- faults, on host K and rail R (0)
# Where sending fails, Soft-RoCE puts the queue pair into error, the CM's for good, which hardware does not. It fails on an interface that loses its
# carrier, that is set down, or whose queue is being exchanged. So on UML each interface has had a filter since the start, which swallows what the
# host sends meanwhile, above the interface's queue. On QEMU, with one host, nothing is under way when a link is taken down.
swallow() { on "$1" tc actions change action trap index $(($2 + 1)); } # K R
let_pass() { on "$1" tc actions change action pass index $(($2 + 1)); }
# The cable is pulled: the other end of the host's link goes down.
link_down() { # K [R]
  local r=${2:-0}
  if [ "$BED" = qemu ]; then ip link set "eth$r" down; else swallow "$1" "$r" && ip link set "v$1.$r" down; fi
}
link_up() { # K [R]
  local r=${2:-0}
  if [ "$BED" = qemu ]; then
    ip link set "eth$r" up
    return
  fi
  ip link set "v$1.$r" up
  wait_for 20 carrier "$1" "$r" || echo "the link of host $1, eth$r, does not come up" >&2
  let_pass "$1" "$r"
}
carrier() { on "$1" ip link show "eth$2" | grep -q 'LOWER_UP.* state UP'; } # K R
# What host K sends: netem K R loss 1% | delay 5ms ...; netem_off K [R]
netem() {
  local host=$1 rail=$2
  shift 2
  queue "$host" "$rail" replace root netem "$@"
}
netem_off() { queue "$1" "${2:-0}" del root; }
queue() { # K R replace|del ...
  local host=$1 rail=$2 what=$3 code=0
  shift 3
  if [ "$BED" = qemu ]; then
    tc qdisc "$what" dev "eth$rail" "$@"
    return
  fi
  swallow "$host" "$rail" || return 1
  on "$host" tc qdisc "$what" dev "eth$rail" "$@" || code=$?
  let_pass "$host" "$rail" && return "$code"
}
port_state() { on "$1" rdma link show "$(device "$1" "${2:-0}")/1" | sed -n 's/.* state \([A-Z]*\).*/\1/p'; } # K [R]: ACTIVE, DOWN
port_is() { [ "$(port_state "$1" "$2")" = "$3" ]; } # K R STATE, for wait_for

# ---- RDMA objects of host K. The kernel itself keeps some (QP 1, its queue and domain), so compare with what was there before the programs ran.
rdma_objects() { on "$1" rdma resource show | sed 's/^[0-9]*: //'; }
# K kind [R]: how many of pd, cq, qp, cm_id, mr, ctx, srq
rdma_count() {
  on "$1" rdma resource show "$(device "$1" "${3:-0}")" |
    awk -v kind="$2" '{ for (i = 2; i < NF; i++) if ($i == kind) n += $(i + 1) } END { print n + 0 }'
}

# ---- a job's checks: check "what must hold" command... and suite; at the end finish, whose totals scripts/run-tests reads
checks=0 failures=0
check() {
  local text=$1 output code=0
  shift
  checks=$((checks + 1))
  output=$("$@" 2>&1) || code=$?
  if ((code == 0)); then
    echo "ok: $text"
    return 0
  fi
  failures=$((failures + 1))
  printf 'FAILED (%d): %s\n  %s\n%s\n' "$code" "$text" "$*" "${output//$'\n'/$'\n'  }"
  return 1
}
# suite "what" command...: a Check program, whose tests count one by one
suite() {
  local text=$1 output code=0 ran=0 bad=0
  shift
  output=$("$@" 2>&1) || code=$?
  if [[ $output =~ %:\ Checks:\ ([0-9]+),\ Failures:\ ([0-9]+),\ Errors:\ ([0-9]+) ]]; then
    ran=${BASH_REMATCH[1]} bad=$((BASH_REMATCH[2] + BASH_REMATCH[3]))
  fi
  if ((ran == 0 || (code != 0 && bad == 0))); then ran=$((ran + 1)) bad=1; fi # it died, or a sanitizer reports at its end
  checks=$((checks + ran)) failures=$((failures + bad))
  ((bad > 0)) || { echo "ok: $text, $ran tests" && return 0; }
  printf 'FAILED (%d): %s\n  %s\n%s\n' "$code" "$text" "$*" "${output//$'\n'/$'\n  '}"
  return 1
}
finish() {
  echo "$((checks > 0 ? 100 * (checks - failures) / checks : 100))%: Checks: $checks, Failures: $failures, Errors: 0"
  exit $((failures > 0 || checks == 0))
}
# wait_for SECONDS command...: until it succeeds
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}
equal() { [ "$1" = "$2" ] || { echo "is '$1', not '$2'"; return 1; }; }
