# The table of perf/compare/fabric, from its JSON lines. Bounds: the bytes that the plan's shape puts on each link, over the link's rate, at the link that needs
# longest. Rates of payload are the links' rates times what iperf3 found of one.
function field(name,   at) {
  if (!match($0, "\"" name "\":[^,}]*")) return ""
  at = substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
  gsub(/"/, "", at)
  return at
}
function median(list,   n, v, i, j, t) {
  n = split(list, v, " ")
  for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] + 0 < v[j - 1] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
  return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
function largest(a, b) { return a > b ? a : b }
function worker_rack(i) { return uplink ? int(i * 2 / n) : 0 }
function server_rack(i) { return uplink ? i % 2 : 0 }

# Seconds for the tensor's bytes; 0: the plan cannot be, or its bound is not known.
function star_bound(bytes,   i, j, cross) {
  if (!k) return 0
  for (i = 0; i < n; i++) for (j = 0; j < k; j++) if (worker_rack(i) != server_rack(j)) cross++
  # of such a pair the contribution crosses one way and the result the other: each way is crossed once for every pair
  return bytes * largest(largest(1 / B, n / k / S), uplink ? cross / k / uplink : 0)
}
function ring_bound(bytes) { return bytes * 2 * (n - 1) / n / (uplink && uplink < B ? uplink : B) }
function direct_bound(bytes,   i, a, cross) {
  for (i = 0; i < n; i++) a += worker_rack(i) == 0
  cross = 2 * a * (n - a) / n
  return bytes * largest(2 * (n - 1) / n / B, uplink ? cross / uplink : 0)
}
function hybrid_bound(bytes,   r) {
  if (!k || uplink) return 0
  r = S / B
  return bytes / B * (r * k <= n ? 2 * n * (n - 1) / (n * n + r * k * (n - 2)) : 1)
}
function bound(side, bytes) {
  if (side == "star") return star_bound(bytes)
  if (side == "ring" || side == "gloo" || side == "mpi") return ring_bound(bytes)
  if (side == "direct") return direct_bound(bytes)
  if (side == "hybrid") return hybrid_bound(bytes)
  return side == "auto" ? best(bytes) : 0
}
function best(bytes,   t, s) {
  t = ring_bound(bytes)
  if ((s = direct_bound(bytes)) && s < t) t = s
  if ((s = star_bound(bytes)) && s < t) t = s
  if ((s = hybrid_bound(bytes)) && s < t) t = s
  return t
}

/"fabric":/ {
  setup = field("fabric")
  setups[++n_setups] = setup
  payload[setup] = field("payload_bps") / 8
  together[setup] = field("payload_ring_bps") / 1e6
  share = payload[setup] * 8 / field("worker_bps")
  server_payload[setup] = field("server_bps") / 8 * share
  uplink_payload[setup] = field("uplink_bps") / 8 * share
  n_workers[setup] = field("workers") + 0
  n_servers[setup] = field("servers") + 0
  next
}
{
  size = field("bytes"); side = field("side")
  key = field("setup") SUBSEP size SUBSEP side
  if (!(key in time)) { keys[++n_keys] = key; least[key] = 1e30 }
  time[key] = time[key] " " field("median_us") / 1000
  if (field("min_us") / 1000 < least[key]) least[key] = field("min_us") / 1000
  if (field("p99_us") / 1000 > most[key]) most[key] = field("p99_us") / 1000
  busy[key] = busy[key] " " field("busy")
  again[key] = again[key] " " field("again")
  rto[key] = rto[key] " " field("rto")
  said[key] = field("forest") # of a libagg that predicts
  if (field("predicted_us")) predicted[key] = predicted[key] " " field("predicted_us") / 1000
  wrong += field("wrong")
}
END {
  for (s = 1; s <= n_setups; s++) {
    setup = setups[s]
    n = n_workers[setup]; k = n_servers[setup]; B = payload[setup]; S = server_payload[setup]; uplink = uplink_payload[setup]
    printf "\n%d workers with %.0f Mbit/s of payload each way", n, B * 8 / 1e6
    if (k) printf ", %d servers with %.0f", k, S * 8 / 1e6
    if (uplink) printf ", two racks with %.0f between them", uplink * 8 / 1e6
    if (together[setup]) printf " (all hosts around a ring at once: %.0f)", together[setup]
    printf "\n%10s %-8s %9s %9s %9s %9s %7s %7s %5s %6s %4s\n", "bytes", "plan", "median ms", "min", "max", "bound ms", "x bound", "x best", "busy", "again", "RTO"
    last = ""
    for (i = 1; i <= n_keys; i++) {
      split(keys[i], part, SUBSEP)
      if (part[1] != setup) continue
      size = part[2]; side = part[3]
      if (size != last) {
        printf "%10d bounds: ring %.1f ms, M/B %.1f ms", size, ring_bound(size) * 1e3, size / B * 1e3
        if (hybrid_bound(size)) printf ", hybrid %.1f ms", hybrid_bound(size) * 1e3
        printf ", best %.1f ms\n", best(size) * 1e3
      }
      last = size
      ms = median(time[keys[i]])
      b = bound(side, size) * 1e3
      printf "%10s %-8s %9.1f %9.1f %9.1f ", "", side, ms, least[keys[i]], most[keys[i]]
      if (b) printf "%9.1f %7.3f ", b, ms / b; else printf "%9s %7s ", "-", "-"
      printf "%7.3f %4.0f%% %6d %4d", ms / best(size) / 1e3, median(busy[keys[i]]) * 100, median(again[keys[i]]), median(rto[keys[i]])
      if (keys[i] in predicted) printf "  predicted %.1f ms over %s", median(predicted[keys[i]]), said[keys[i]]
      print ""
    }
  }
  if (wrong > 0) { printf "%d elements were wrong\n", wrong; exit 1 }
}
