/*
 * How fast are puts over RDMA? Two processes, one lane, straight on the transport's table: half a round trip of 8 bytes with notice
 * (spinning, then asleep in between), then puts of each size one way at a full window. The data is checked. With -c the calls of
 * libibverbs are counted: work requests, doorbells (ibv_post_send), completions and receives per message. One line a point.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "tps.h"
#include "verbs/internal.h"

#define AREA ((size_t)16 << 20)
#define SIZES_MAX 16
#define BATCH 20u /* round trips between two looks at the clock, which may be a system call */
#define LAT_SLOTS 64u
#define LIMIT_S 300

/* What the connecting end tells the other. */
struct settings {
  unsigned char ticket[TP_TICKET_BYTES];
  uint32_t window, rounds, n_sizes, counts;
  uint64_t total, sizes[SIZES_MAX];
};

struct end {
  struct settings set;
  struct tp *tp;
  struct tp_lane *lane;
  struct tp_mr *in_mr, *out_mr;
  unsigned char *in, *out;
  struct tp_raddr peer;
  int sock, first, sleeps;
  uint64_t noticed, wanted, sent, posted; /* noticed: notices, which carry their own number */
  size_t expect;                          /* bytes of each */
};

/* Of libibverbs' own calls: the functions that were there, and what went through them. */
static struct {
  int (*post_send)(struct ibv_qp *, struct ibv_send_wr *, struct ibv_send_wr **);
  int (*post_recv)(struct ibv_qp *, struct ibv_recv_wr *, struct ibv_recv_wr **);
  int (*poll_cq)(struct ibv_cq *, int, struct ibv_wc *);
} real;
static struct counts { uint64_t requests, doorbells, send_wc, recv_wc, receives, recv_calls, polls; } counted;

static void die(const char *what) {
  fprintf(stderr, "verbs_put: %s\n", what);
  _exit(1);
}

/* ---- counting ---- */

static int count_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad) {
  counted.doorbells++;
  for (const struct ibv_send_wr *w = wr; w != NULL; w = w->next) counted.requests++;
  return real.post_send(qp, wr, bad);
}

static int count_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad) {
  counted.recv_calls++;
  for (const struct ibv_recv_wr *w = wr; w != NULL; w = w->next) counted.receives++;
  return real.post_recv(qp, wr, bad);
}

static int count_poll(struct ibv_cq *cq, int max, struct ibv_wc *wc) {
  int n = real.poll_cq(cq, max, wc);
  counted.polls++;
  for (int i = 0; i < n; i++) {
    if (wc[i].wr_id >> 56 == WR_RECV)
      counted.recv_wc++;
    else
      counted.send_wc++;
  }
  return n;
}

static void count_calls(struct tp *tp) {
  for (unsigned i = 0; i < tp->n_rails; i++) {
    struct ibv_context_ops *ops = &tp->rails[i].ctx->ops;
    real.post_send = ops->post_send;
    real.post_recv = ops->post_recv;
    real.poll_cq = ops->poll_cq;
    ops->post_send = count_send;
    ops->post_recv = count_recv;
    ops->poll_cq = count_poll;
  }
}

/* ---- one step ---- */

static void noticed(struct end *e, const struct tp_event *ev) {
  if (ev->notice != (uint32_t)e->noticed || ev->bytes != e->expect) die("a notice with a wrong number or length");
  e->noticed++;
}

static void step(struct end *e) {
  struct tp_event ev[64];
  int n = tp_verbs.poll(e->tp, ev, 64);
  for (int i = 0; i < n; i++) {
    if (ev[i].kind == TP_CONNECTED) e->peer = ev[i].peer_window;
    if (ev[i].kind == TP_NOTICE) noticed(e, &ev[i]);
    if (ev[i].kind == TP_SENT) e->sent++;
    if (ev[i].kind == TP_LOST) die(ev[i].text);
  }
  if (n == 0 && e->sleeps && tp_verbs.arm(e->tp) == 0) {
    struct pollfd p = {.fd = tp_verbs.fd(e->tp), .events = POLLIN};
    (void)poll(&p, 1, 1000);
  } else if (n == 0) {
    cpu_relax();
  }
}

/* For n more notices than were waited for so far. */
static void wait_notices(struct end *e, uint64_t n) {
  e->wanted += n;
  while (e->noticed < e->wanted) step(e);
}

static void wait_sent(struct end *e) {
  while (e->sent < e->posted) step(e);
}

/* The number of the put is its notice; what it carries lies at the same place at both ends. */
static void put(struct end *e, uint64_t number, size_t at, size_t len) {
  struct tp_src src = {e->out + at, len, e->out_mr};
  struct tp_raddr dst = {e->peer.key, e->peer.off + at};
  tp_verbs.put(e->lane, &src, 1, dst, (uint32_t)number, 1);
  e->posted++;
}

/* ---- the two meet ---- */

static void say(int sock, const void *data, size_t len) {
  if (send(sock, data, len, MSG_NOSIGNAL) != (ssize_t)len) die("the other end has gone");
}

static void hear(int sock, void *data, size_t len) {
  if (recv(sock, data, len, MSG_WAITALL) != (ssize_t)len) die("the other end has gone");
}

static void together(struct end *e) {
  char c = 0;
  say(e->sock, &c, 1);
  hear(e->sock, &c, 1);
}

static int meet_at(const char *place, int listening) {
  struct sockaddr_in at = {.sin_family = AF_INET};
  char host[INET_ADDRSTRLEN];
  const char *colon = strchr(place, ':');
  int one = 1, sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), tries = 0;
  if (colon == NULL || (size_t)(colon - place) >= sizeof host || sock < 0) die("where? ADDRESS:PORT");
  memcpy(host, place, (size_t)(colon - place));
  host[colon - place] = '\0';
  at.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
  if (inet_pton(AF_INET, host, &at.sin_addr) != 1 || at.sin_port == 0) die("where? ADDRESS:PORT");
  setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (!listening) {
    while (connect(sock, (struct sockaddr *)&at, sizeof at) != 0) {
      if (errno != ECONNREFUSED || ++tries == 500) die(strerror(errno));
      usleep(20000);
    }
    return sock;
  }
  if (bind(sock, (struct sockaddr *)&at, sizeof at) != 0 || listen(sock, 1) != 0) die(strerror(errno));
  int peer = accept(sock, NULL, NULL);
  if (peer < 0) die(strerror(errno));
  close(sock);
  return peer;
}

static unsigned char *memory(struct end *e, struct tp_mr **mr) {
  agg_error_t err = {0};
  void *at = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) die("no memory");
  struct tp_mem mem = {.addr = at, .len = AREA, .fd = -1};
  if (tp_verbs.mem_reg(e->tp, &mem, mr, &err) != 0) die(err.text);
  return at;
}

static void connect_lane(struct end *e, const char *place) {
  agg_error_t err = {0};
  char host[64];
  unsigned char own[TP_ADDRESS_MAX] = {0}, other[TP_ADDRESS_MAX];
  snprintf(host, sizeof host, "%.*s", (int)strcspn(place, ":"), place);
  struct tp_config config = {.bind_host = "", .peer_host = host};
  if (tp_verbs.open(&config, &e->tp, &err) != 0) die(err.text);
  uint64_t len = tp_verbs.address(e->tp, own), other_len;
  say(e->sock, &len, sizeof len);
  say(e->sock, own, sizeof own);
  hear(e->sock, &other_len, sizeof other_len);
  hear(e->sock, other, sizeof other);
  e->in = memory(e, &e->in_mr);
  e->out = memory(e, &e->out_mr);
  struct tp_lane_config lc = {.peer_address = other,
                              .peer_address_len = other_len,
                              .active = e->first,
                              .depth = e->set.window,
                              .window_mr = e->in_mr,
                              .window_ptr = e->in};
  memcpy(lc.ticket, e->set.ticket, sizeof lc.ticket);
  if (tp_verbs.lane_open(e->tp, &lc, &e->lane, &err) != 0) die(err.text);
  while (e->peer.key == 0) step(e);
  if (e->set.counts) count_calls(e->tp);
}

/* ---- latency ---- */

static void ping(struct end *e, uint64_t i) {
  size_t at = i % LAT_SLOTS * sizeof i;
  memcpy(e->out + at, &i, sizeof i);
  put(e, i, at, sizeof i);
}

static void pong(struct end *e, uint64_t i) {
  uint64_t got;
  wait_notices(e, 1);
  memcpy(&got, e->in + i % LAT_SLOTS * sizeof i, sizeof got);
  if (got != i) die("wrong data after a notice");
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void fresh(struct end *e, size_t expect) {
  wait_sent(e);
  e->noticed = e->wanted = e->sent = e->posted = 0;
  e->expect = expect;
  together(e);
  counted = (struct counts){0};
}

static void print_counts(const struct end *e, const char *who, uint64_t messages) {
  double n = (double)messages;
  if (!e->set.counts) return;
  printf("count end=%s messages=%lu requests=%.4f doorbells=%.4f send_wc=%.4f recv_wc=%.4f receives=%.4f recv_calls=%.4f polls=%.2f\n", who,
         (unsigned long)messages, (double)counted.requests / n, (double)counted.doorbells / n, (double)counted.send_wc / n,
         (double)counted.recv_wc / n, (double)counted.receives / n, (double)counted.recv_calls / n, (double)counted.polls / n);
}

static void latency(struct end *e, int sleeps) {
  uint32_t batches = (e->set.rounds + BATCH - 1) / BATCH;
  double *us = calloc(batches, sizeof *us), sum = 0;
  uint64_t i = 0;
  if (us == NULL) die("no memory");
  e->sleeps = sleeps;
  fresh(e, sizeof i);
  for (uint32_t b = 0; b < batches; b++) {
    uint64_t t0 = clock_now_ns();
    for (uint32_t k = 0; k < BATCH; k++, i++) {
      if (e->first) ping(e, i);
      pong(e, i);
      if (!e->first) ping(e, i);
    }
    us[b] = (double)(clock_now_ns() - t0) / 1e3 / (2 * BATCH);
    sum += us[b];
  }
  e->sleeps = 0;
  qsort(us, batches, sizeof *us, compare_doubles);
  if (e->first)
    printf("put_lat bytes=8 events=%d rounds=%lu median_us=%.2f min_us=%.2f mean_us=%.2f\n", sleeps, (unsigned long)i, us[batches / 2],
           us[0], sum / batches);
  if (e->first) print_counts(e, sleeps ? "client size=8 events=1" : "client size=8 events=0", i);
  free(us);
}

/* ---- bandwidth ---- */

static unsigned char pattern(size_t i, size_t size) { return (unsigned char)(i * 31 + i / 251 + size / 4096 + 1); }

static void stream_out(struct end *e, size_t size, size_t slots, uint64_t n) {
  uint64_t t0 = clock_now_ns();
  while (e->sent < n) {
    while (e->posted < n && e->posted - e->sent < e->set.window) put(e, e->posted, e->posted % slots * size, size);
    step(e);
  }
  double s = (double)(clock_now_ns() - t0) / 1e9;
  printf("put_bw bytes=%zu window=%u puts=%lu MBps=%.2f\n", size, e->set.window, (unsigned long)n, (double)n * (double)size / s / 1e6);
}

static void bandwidth(struct end *e, size_t size) {
  size_t slots = MIN_OF(MAX_OF(AREA / size, (size_t)1), (size_t)e->set.window);
  uint64_t n = MAX_OF(MAX_OF(e->set.total / size, (uint64_t)slots), (uint64_t)4);
  char name[32];
  if (e->first)
    for (size_t i = 0; i < slots * size; i++) e->out[i] = pattern(i, size);
  else
    memset(e->in, 0, slots * size);
  fresh(e, size);
  if (e->first)
    stream_out(e, size, slots, n);
  else
    wait_notices(e, n);
  for (size_t i = 0; !e->first && i < slots * size; i++)
    if (e->in[i] != pattern(i, size)) die("wrong data");
  snprintf(name, sizeof name, "%s size=%zu", e->first ? "sender" : "receiver", size);
  print_counts(e, name, n);
  together(e);
}

static void run(struct end *e, const char *place) {
  connect_lane(e, place);
  if (e->set.rounds > 0) {
    latency(e, 0);
    latency(e, 1);
  }
  for (uint32_t i = 0; i < e->set.n_sizes; i++) bandwidth(e, e->set.sizes[i]);
  together(e);
  tp_verbs.close(e->tp);
  close(e->sock);
}

static void usage(void) {
  fprintf(stderr,
          "usage: verbs_put listen ADDRESS:PORT\n"
          "       verbs_put connect ADDRESS:PORT [-c] [-w WINDOW] [-n ROUND_TRIPS] [-m MIB] [SIZE...]\n"
          "  -c  count the calls of libibverbs    -w  puts outstanding (64)   -n  round trips of the latency test (1000; 0: none)\n"
          "  -m  MiB sent for each size (64)      SIZE: bytes, at most 16777216\n");
  exit(2);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most) {
  char *end;
  errno = 0;
  unsigned long long v = strtoull(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || v < least || v > most || text[0] == '-') usage();
  return v;
}

static void read_settings(struct settings *s, int argc, char **argv) {
  int option;
  *s = (struct settings){.window = 64, .rounds = 1000, .total = (uint64_t)64 << 20};
  while ((option = getopt(argc, argv, "cw:n:m:")) != -1) {
    if (option == 'c')
      s->counts = 1;
    else if (option == 'w')
      s->window = (uint32_t)number(optarg, 1, 4096);
    else if (option == 'n')
      s->rounds = (uint32_t)number(optarg, 0, 1000000);
    else if (option == 'm')
      s->total = number(optarg, 1, 65536) << 20;
    else
      usage();
  }
  if (argc - optind > SIZES_MAX) usage();
  for (int i = optind; i < argc; i++) s->sizes[s->n_sizes++] = number(argv[i], 1, AREA);
  if (getrandom(s->ticket, sizeof s->ticket, 0) != (ssize_t)sizeof s->ticket) die("no random numbers");
}

int main(int argc, char **argv) {
  struct end e = {0};
  if (argc < 3 || (strcmp(argv[1], "listen") != 0 && strcmp(argv[1], "connect") != 0)) usage();
  e.first = strcmp(argv[1], "connect") == 0;
  if (!e.first && argc > 3) usage();
  setvbuf(stdout, NULL, _IOLBF, 0);
  alarm(LIMIT_S); /* the other end may die without a word */
  if (e.first) read_settings(&e.set, argc - 2, argv + 2);
  e.sock = meet_at(argv[2], !e.first);
  if (e.first)
    say(e.sock, &e.set, sizeof e.set);
  else
    hear(e.sock, &e.set, sizeof e.set);
  run(&e, argv[2]);
  return 0;
}
