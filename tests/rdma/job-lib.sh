# shellcheck shell=bash disable=SC2034,SC1090
# Sourced by the jobs: workers and a server, each on a host of its own, over verbs and nothing else.
. "$GUEST_LIB"
export AGG_TRANSPORT=verbs AGG_TOKEN=secret AGG_JOIN_TIMEOUT=40 AGG_TIMEOUT=60
umask 077
echo secret >/tmp/token
declare -A pid

# K command...: on host K, in place of the shell that is forked for it, so that $! is the command's own number
become() {
  local k=$1
  shift
  if [ "$BED" = qemu ]; then exec "$@"; fi # where all are on one host
  exec ip netns exec "h$k" "$@"
}

# K options...: an agg-server on host K; $OUT/server.log. Workers that start afterwards use it.
server() {
  local k=$1
  shift
  : >"$OUT/server.log"
  become "$k" env -u AGG_TOKEN "$B/agg-server" --token-file /tmp/token --listen "$(address "$k"):7171" --transport verbs "$@" >>"$OUT/server.log" 2>&1 &
  pid[server]=$!
  export AGG_SERVERS
  AGG_SERVERS=$(address "$k"):7171
  wait_for 30 grep -q 'listens on' "$OUT/server.log"
}
# Its exit status in $stopped. Not within check, whose subshell has no children to wait for.
stop_server() {
  stopped=0
  kill -TERM "${pid[server]}"
  wait "${pid[server]}" || stopped=$?
}

# N command...: rank K on host K, for K below N; $OUT/rankK.log. Without a server, rank 0 coordinates.
workers() {
  local n=$1 k
  shift
  [ -z "${pid[server]-}" ] || : >"$OUT/server.log"
  export AGG_SIZE=$n
  export AGG_COORDINATOR=
  [ -n "${AGG_SERVERS-}" ] || AGG_COORDINATOR=$(address 0):7000
  for ((k = 0; k < n; k++)); do
    AGG_RANK=$k become "$k" taskset -c $((k % 2)) "$@" >"$OUT/rank$k.log" 2>&1 &
    pid[$k]=$!
  done
}
# N: waits for the workers; the sum of their exit codes in $codes, each in ${code[K]}, the seconds that it took in $took. Not within check.
declare -A code
finish_workers() {
  local k start=$SECONDS
  codes=0
  for ((k = 0; k < $1; k++)); do
    code[$k]=0
    wait "${pid[$k]}" || code[$k]=$?
    codes=$((codes + code[$k]))
  done
  took=$((SECONDS - start))
}
# What all workers said, for the report of a check that fails
logs() { tail -n 5 "$OUT"/rank*.log "$OUT/server.log" 2>/dev/null; return 1; }
ended_well() { [ "$codes" = 0 ] || logs; }
# command...: runs it with workers that must all end well
all_well() { # N command...
  workers "$@"
  finish_workers "$1"
  ended_well
}
held() { # K: what the programs on host K have, while they live, and the kernel's own
  echo "$(rdma_count "$1" qp) $(rdma_count "$1" cm_id) $(rdma_count "$1" mr) $(rdma_count "$1" pd)"
}
no_objects() { # K: nothing but the kernel's own is left on host K
  equal "$(rdma_count "$1" qp) $(rdma_count "$1" cm_id) $(rdma_count "$1" mr) $(rdma_count "$1" pd) $(rdma_count "$1" ctx)" '1 0 0 1 0'
}
