/*
 * A connection's bytes: socket <-> TLS <-> greeting and frames, its deadline and its limits. Sends with MSG_NOSIGNAL, so no SIGPIPE is
 * ever raised. Never looks into a frame and never calls its owner from inside the owner's own calls.
 *
 *   OPEN --channel_finish--> LINGER --peer closed, or CHANNEL_LINGER_S--> freed
 *    '---- error, deadline, channel_close ------------------------------> freed
 */
#include "channel.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/err.h"
#include "base/net.h"
#include "base/util.h"

#define DEAD_HOST_S 10 /* a link that is lost for as long as lanes wait for theirs ends no connection here either */
#define READ_BYTES 16384
#define READS_PER_TURN 16 /* then the other connections have their turn */

struct out {
  STAILQ_ENTRY(out) link;
  struct frame *frame;
};

struct channel {
  TAILQ_ENTRY(channel) link;
  struct channel_set *set;
  struct event *readable, *writable, *timer;
  struct channel_hooks hooks;
  struct tls_conn tls;
  const struct tls *context; /* the TLS objects are made at the first byte, so a silent stranger costs little */
  unsigned key;
  int fd;
  uint8_t server, stranger, established, greeted, lingering, ended, write_waits;
  uint8_t heard, started;
  uint8_t busy; /* in a callback: freed when it returns */
  uint8_t dead; /* closed while busy */
  void (*gone)(void *user);
  void *gone_user;
  agg_error_t doom; /* code != 0: closes at the next turn of the loop */
  uint32_t frame_max, in_have, in_cap;
  unsigned char *in; /* plain bytes of an unfinished greeting or frame */
  STAILQ_HEAD(, out) out;
  uint32_t out_off, out_bytes, out_max;
};

struct frame *frame_new(uint32_t payload) {
  struct frame *f = malloc(sizeof *f + 4 + payload);
  if (f == NULL) return NULL;
  f->refs = 1;
  f->len = payload + 4;
  for (unsigned i = 0; i < 4; i++) f->bytes[i] = (unsigned char)(payload >> (8 * i));
  return f;
}

void frame_put(struct frame *f) {
  if (f != NULL && --f->refs == 0) free(f);
}

void channel_set_init(struct channel_set *set, struct event_base *base) {
  memset(set, 0, sizeof *set);
  set->base = base;
  set->version = CHANNEL_VERSION;
  TAILQ_INIT(&set->strangers);
  TAILQ_INIT(&set->known);
}

void channel_set_fini(struct channel_set *set) {
  struct channel *ch;
  while ((ch = TAILQ_FIRST(&set->strangers)) != NULL) channel_close(ch);
  while ((ch = TAILQ_FIRST(&set->known)) != NULL) channel_close(ch);
  assert(set->count == 0);
}

struct channel *channel_oldest_stranger(struct channel_set *set) {
  return TAILQ_FIRST(&set->strangers);
}
unsigned channel_key(const struct channel *ch) { return ch->tls.key; }
int channel_quiet(const struct channel *ch) { return !ch->heard; }
void *channel_user(const struct channel *ch) { return ch->hooks.user; }

int channel_same_host(const struct channel *ch) {
  struct net_addr a = {.len = sizeof a.ss}, b = {.len = sizeof b.ss};
  if (getsockname(ch->fd, (struct sockaddr *)&a.ss, &a.len) || getpeername(ch->fd, (struct sockaddr *)&b.ss, &b.len)) return 0;
  if (a.ss.ss_family != b.ss.ss_family) return 0;
  if (a.ss.ss_family == AF_INET) {
    return memcmp(&((struct sockaddr_in *)&a.ss)->sin_addr, &((struct sockaddr_in *)&b.ss)->sin_addr, sizeof(struct in_addr)) == 0;
  }
  if (a.ss.ss_family != AF_INET6) return 0;
  return memcmp(&((struct sockaddr_in6 *)&a.ss)->sin6_addr, &((struct sockaddr_in6 *)&b.ss)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

/* ---- life -------------------------------------------------------------------------------------------------------------------- */

static void leave_list(struct channel *ch) {
  if (ch->stranger) {
    TAILQ_REMOVE(&ch->set->strangers, ch, link);
    ch->set->n_strangers--;
  } else {
    TAILQ_REMOVE(&ch->set->known, ch, link);
  }
}

static void drop_output(struct channel *ch) {
  struct out *o;
  while ((o = STAILQ_FIRST(&ch->out)) != NULL) {
    STAILQ_REMOVE_HEAD(&ch->out, link);
    frame_put(o->frame);
    free(o);
  }
}

static void channel_free(struct channel *ch) {
  if (ch->readable) event_free(ch->readable);
  if (ch->writable) event_free(ch->writable);
  if (ch->timer) event_free(ch->timer);
  tls_conn_close(&ch->tls);
  drop_output(ch);
  free(ch->in);
  free(ch);
}

/* Lets go of socket, events and list at once; the memory follows when no callback is running. */
void channel_close(struct channel *ch) {
  if (ch == NULL || ch->dead) return;
  ch->dead = 1;
  leave_list(ch);
  ch->set->count--;
  event_del(ch->readable);
  event_del(ch->writable);
  event_del(ch->timer);
  close(ch->fd);
  void (*gone)(void *) = ch->gone;
  void *user = ch->gone_user;
  if (!ch->busy) channel_free(ch);
  if (gone) gone(user);
}

static void after_callback(struct channel *ch) {
  ch->busy = 0;
  if (ch->dead) channel_free(ch);
}

/* The end that the owner hears of. Only from the event loop; the channel is gone afterwards. */
static void channel_fail(struct channel *ch, int code, const char *text) {
  void (*closed)(void *, int, const char *) = ch->hooks.closed;
  void *user = ch->hooks.user;
  int tell = !ch->lingering && !ch->dead;
  ch->busy = 1;
  channel_close(ch);
  if (tell && closed) closed(user, code, text);
  after_callback(ch);
}

/* Remembers the failure; the loop carries it out. */
static void channel_doom(struct channel *ch, int code, const char *text) {
  if (ch->doom.code == 0) {
    err_set(&ch->doom, code, "%s", text);
    event_active(ch->timer, EV_TIMEOUT, 1);
  }
}

void channel_drop(struct channel *ch, int code, const char *text) { channel_doom(ch, code, text); }

static void set_timer(struct channel *ch, double seconds) {
  struct timeval tv = {.tv_sec = (time_t)seconds, .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
  event_add(ch->timer, &tv);
}

/* ---- output ------------------------------------------------------------------------------------------------------------------- */

/* Sends what is encrypted: 1 all gone, 0 the socket is full, -1 the connection is broken (errno). */
static int send_encrypted(struct channel *ch) {
  for (;;) {
    char *data;
    long pending = BIO_get_mem_data(ch->tls.out, &data);
    if (pending <= 0) return 1;
    ssize_t n = send(ch->fd, data, (size_t)pending, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    char sink[4096];
    while (n > 0) n -= BIO_read(ch->tls.out, sink, (int)MIN_OF((size_t)n, sizeof sink));
  }
}

/* Encrypts the next piece of the queue: 1 done, 0 nothing there, negative on error. */
static int encrypt_next(struct channel *ch) {
  struct out *o = STAILQ_FIRST(&ch->out);
  agg_error_t err;
  if (o == NULL || !ch->established) return 0;
  uint32_t n = MIN_OF(o->frame->len - ch->out_off, READ_BYTES);
  if (tls_write(&ch->tls, o->frame->bytes + ch->out_off, (int)n, &err) != AGG_OK) return -1;
  ch->out_off += n;
  ch->out_bytes -= n;
  if (ch->out_off == o->frame->len) {
    STAILQ_REMOVE_HEAD(&ch->out, link);
    frame_put(o->frame);
    free(o);
    ch->out_off = 0;
  }
  return 1;
}

/* A lingering channel whose last words are out ends its direction. */
static void end_output(struct channel *ch) {
  if (!ch->lingering || ch->ended || !STAILQ_EMPTY(&ch->out)) return;
  ch->ended = 1;
  if (ch->established) {
    tls_end(&ch->tls);
    (void)send_encrypted(ch);
  }
  (void)shutdown(ch->fd, SHUT_WR);
}

/* Moves queued bytes to the socket. 0, or -1 with errno when the connection is broken. */
static int flush(struct channel *ch) {
  if (ch->tls.ssl == NULL) {
    end_output(ch);
    return 0;
  }
  int sent, more = 1;
  while ((sent = send_encrypted(ch)) == 1 && more) {
    more = encrypt_next(ch);
    if (more < 0) {
      errno = ENOMEM;
      return -1;
    }
  }
  if (sent < 0) return -1;
  if (sent == 0 && !ch->write_waits) event_add(ch->writable, NULL);
  if (sent == 1 && ch->write_waits) event_del(ch->writable);
  ch->write_waits = sent == 0;
  if (sent == 1) end_output(ch);
  return 0;
}

static void flush_later_fail(struct channel *ch) {
  if (flush(ch) == 0) return;
  char text[128];
  (void)snprintf(text, sizeof text, "its connection broke: %s", strerror(errno));
  channel_doom(ch, AGG_EPEER, text);
}

static int enqueue(struct channel *ch, struct frame *f) {
  struct out *o = malloc(sizeof *o);
  if (o == NULL) return AGG_ENOMEM;
  o->frame = f;
  f->refs++;
  STAILQ_INSERT_TAIL(&ch->out, o, link);
  ch->out_bytes += f->len;
  return AGG_OK;
}

void channel_send(struct channel *ch, struct frame *f) {
  if (ch->dead || ch->lingering || ch->doom.code) return;
  if (f == NULL) {
    channel_doom(ch, AGG_ENOMEM, "out of memory for a message to it");
    return;
  }
  if (f->len > CHANNEL_FRAME_FIRST) ch->out_max += f->len; /* the one SETUP */
  if (ch->out_bytes + f->len > ch->out_max) {
    channel_doom(ch, AGG_ELIMIT, "it does not read what it is sent");
  } else if (enqueue(ch, f) != AGG_OK) {
    channel_doom(ch, AGG_ENOMEM, "out of memory for a message to it");
  } else {
    flush_later_fail(ch);
  }
}

static int send_greeting(struct channel *ch) {
  struct frame *f = malloc(sizeof *f + CHANNEL_GREETING_BYTES);
  if (f == NULL) return AGG_ENOMEM;
  f->refs = 1;
  f->len = CHANNEL_GREETING_BYTES;
  memcpy(f->bytes, CHANNEL_MAGIC, 4);
  f->bytes[4] = (unsigned char)ch->set->version;
  f->bytes[5] = (unsigned char)(ch->set->version >> 8);
  f->bytes[6] = f->bytes[7] = 0;
  int rc = enqueue(ch, f);
  frame_put(f);
  return rc;
}

void channel_finish(struct channel *ch, void (*gone)(void *user), void *user) {
  assert(!ch->lingering && !ch->dead);
  ch->lingering = 1;
  ch->gone = gone;
  ch->gone_user = user;
  memset(&ch->hooks, 0, sizeof ch->hooks);
  set_timer(ch, CHANNEL_LINGER_S);
  if (flush(ch) != 0) channel_doom(ch, AGG_EPEER, "its connection broke");
}

/* ---- input -------------------------------------------------------------------------------------------------------------------- */

static int check_greeting(struct channel *ch, agg_error_t *err) {
  const unsigned char *g = ch->in;
  unsigned version = g[4] | (unsigned)g[5] << 8;
  if (memcmp(g, CHANNEL_MAGIC, 4) != 0) return err_set(err, AGG_EPROTO, "it does not speak the agg control protocol");
  if (version != ch->set->version) {
    return err_set(err, AGG_EVERSION,
                   "it speaks version %u of the control protocol, this process version %u: use the same libagg everywhere", version,
                   ch->set->version);
  }
  if (g[6] || g[7]) return err_set(err, AGG_EPROTO, "its greeting has reserved bytes set");
  ch->greeted = 1;
  return AGG_OK;
}

static uint32_t frame_len(const unsigned char *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

/* Calls the owner for what is complete in the buffer. Returns 0, or a negative code in err. Stops when the channel is closed or finished
 * meanwhile. */
static int deliver(struct channel *ch, agg_error_t *err) {
  uint32_t at = 0;
  int rc = AGG_OK;
  while (!ch->dead && !ch->lingering) {
    uint32_t have = ch->in_have - at;
    if (!ch->greeted) {
      if (have < CHANNEL_GREETING_BYTES) break;
      if ((rc = check_greeting(ch, err)) != AGG_OK) break;
      at += CHANNEL_GREETING_BYTES;
      if (ch->hooks.ready) ch->hooks.ready(ch->hooks.user);
      continue;
    }
    if (have < 4) break;
    uint32_t len = frame_len(ch->in + at);
    if (len > ch->frame_max) {
      rc = err_set(err, AGG_EPROTO, "it sent a frame of %u bytes where at most %u are allowed", len, ch->frame_max);
      break;
    }
    if (have - 4 < len) break;
    ch->hooks.frame(ch->hooks.user, ch->in + at + 4, len);
    at += 4 + len;
  }
  memmove(ch->in, ch->in + at, ch->in_have - at);
  ch->in_have -= at;
  return rc;
}

/* Room for one more record. The buffer grows with what has come, never with what a length promises. */
static int make_room(struct channel *ch) {
  if (ch->in_cap - ch->in_have >= READ_BYTES) return AGG_OK;
  uint32_t cap = MAX_OF(2 * ch->in_have, ch->in_have + READ_BYTES);
  unsigned char *in = realloc(ch->in, cap);
  if (in == NULL) return AGG_ENOMEM;
  ch->in = in;
  ch->in_cap = cap;
  return AGG_OK;
}

static int read_plain(struct channel *ch, agg_error_t *err) {
  for (;;) {
    if (make_room(ch) != AGG_OK) return err_set(err, AGG_ENOMEM, "out of memory for its message");
    int n = tls_read(&ch->tls, ch->in + ch->in_have, READ_BYTES, err);
    if (n <= 0) return n == AGG_ECLOSED ? err_set(err, AGG_EPEER, "its connection closed") : n;
    if (ch->lingering) continue;
    ch->in_have += (uint32_t)n;
    int rc = deliver(ch, err);
    if (rc != AGG_OK || ch->dead) return rc;
    if (ch->in_have == 0 && ch->in_cap > 4 * READ_BYTES) {
      free(ch->in);
      ch->in = NULL;
      ch->in_cap = 0;
    }
  }
}

/* Encrypted bytes have come: goes as far as they allow. */
static int take(struct channel *ch, const void *bytes, int n, agg_error_t *err) {
  ch->heard = 1;
  if (ch->lingering && !ch->established) return AGG_OK;
  if (ch->tls.ssl == NULL && tls_conn_open(&ch->tls, ch->context, 1, 0) != AGG_OK) return err_set(err, AGG_ENOMEM, "out of memory for TLS");
  if (BIO_write(ch->tls.in, bytes, n) != n) return err_set(err, AGG_ENOMEM, "out of memory for its bytes");
  if (!ch->established) {
    int rc = tls_handshake(&ch->tls, err);
    if (rc < 0) return rc;
    ch->established = rc == 1;
  }
  return ch->established ? read_plain(ch, err) : AGG_OK;
}

/* A failure that the peer should hear of (an alert, our version): the owner is told now, the socket lingers. */
static void fail_politely(struct channel *ch, int code, const char *text) {
  struct channel_hooks hooks = ch->hooks;
  if (ch->lingering) {
    channel_fail(ch, code, text);
    return;
  }
  ch->busy = 1;
  if (!ch->established) drop_output(ch); /* otherwise our greeting is in it, which tells the peer our version */
  channel_finish(ch, NULL, NULL);
  if (hooks.closed) hooks.closed(hooks.user, code, text);
  after_callback(ch);
}

static void input_failed(struct channel *ch, const agg_error_t *err) {
  if (ch->tls.ssl != NULL && (err->code == AGG_EAUTH || err->code == AGG_EVERSION || err->code == AGG_EPROTO)) {
    fail_politely(ch, err->code, err->text);
  } else {
    channel_fail(ch, err->code, err->text);
  }
}

static void on_readable(evutil_socket_t fd, short what, void *arg) {
  struct channel *ch = arg;
  char bytes[READ_BYTES];
  (void)what;
  for (int i = 0; i < READS_PER_TURN; i++) {
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n <= 0) {
      agg_error_t err;
      err_set(&err, AGG_EPEER, "its connection closed%s%s", n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
      channel_fail(ch, AGG_EPEER, err.text);
      return;
    }
    agg_error_t err = {0};
    ch->busy = 1;
    int rc = take(ch, bytes, (int)n, &err);
    ch->busy = 0;
    if (ch->dead) {
      channel_free(ch);
      return;
    }
    if (rc != AGG_OK) {
      input_failed(ch, &err);
      return;
    }
    flush_later_fail(ch);
  }
}

static void on_writable(evutil_socket_t fd, short what, void *arg) {
  struct channel *ch = arg;
  agg_error_t err;
  (void)fd, (void)what;
  if (!ch->server && !ch->started) { /* a client speaks first */
    ch->started = 1;
    if (tls_handshake(&ch->tls, &err) < 0) {
      channel_fail(ch, err.code, err.text);
      return;
    }
  }
  flush_later_fail(ch);
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
  struct channel *ch = arg;
  (void)fd, (void)what;
  agg_error_t doom = ch->doom;
  if (doom.code) {
    channel_fail(ch, doom.code, doom.text);
  } else {
    channel_fail(ch, AGG_ETIMEDOUT, ch->greeted ? "it said nothing within 5 s" : "it did not finish the TLS handshake within 5 s");
  }
}

/* ---- opening ------------------------------------------------------------------------------------------------------------------- */

static int make_events(struct channel *ch) {
  struct event_base *base = ch->set->base;
  ch->readable = event_new(base, ch->fd, EV_READ | EV_PERSIST, on_readable, ch);
  ch->writable = event_new(base, ch->fd, EV_WRITE | EV_PERSIST, on_writable, ch);
  ch->timer = event_new(base, -1, 0, on_timer, ch);
  if (ch->readable == NULL || ch->writable == NULL || ch->timer == NULL) return AGG_ENOMEM;
  return event_add(ch->readable, NULL) == 0 ? AGG_OK : AGG_ENOMEM;
}

int channel_open(struct channel_set *set, const struct channel_config *config, struct channel **out, agg_error_t *err) {
  struct channel *ch = calloc(1, sizeof *ch);
  if (ch == NULL) {
    close(config->fd);
    return err_set(err, AGG_ENOMEM, "out of memory for a connection");
  }
  STAILQ_INIT(&ch->out);
  ch->set = set;
  ch->hooks = config->hooks;
  ch->context = config->tls;
  ch->fd = config->fd;
  ch->server = (uint8_t)config->server;
  ch->frame_max = config->frame_max;
  ch->out_max = CHANNEL_OUTPUT_MAX;
  if (make_events(ch) != AGG_OK || send_greeting(ch) != AGG_OK ||
      (!config->server && tls_conn_open(&ch->tls, config->tls, 0, config->key) != AGG_OK)) {
    channel_free(ch);
    close(config->fd);
    return err_set(err, AGG_ENOMEM, "out of memory for a connection");
  }
  ch->stranger = 1;
  TAILQ_INSERT_TAIL(&set->strangers, ch, link);
  set->n_strangers++;
  set->count++;
  net_tune(ch->fd, DEAD_HOST_S);
  if (config->deadline_s > 0) set_timer(ch, config->deadline_s);
  if (!config->server) event_active(ch->writable, EV_WRITE, 1); /* starts the handshake, in the loop */
  *out = ch;
  return AGG_OK;
}

void channel_prove(struct channel *ch, uint32_t frame_max) {
  ch->frame_max = frame_max;
  if (!ch->stranger) return;
  leave_list(ch);
  ch->stranger = 0;
  TAILQ_INSERT_TAIL(&ch->set->known, ch, link);
  if (!ch->lingering && ch->doom.code == 0) event_del(ch->timer);
}
