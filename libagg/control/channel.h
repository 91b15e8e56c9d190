/*
 * One connection of the control plane: TLS, greeting, then frames both ways. Everything here is called on the thread that runs the
 * event base. Callbacks come only from the event loop, never from inside a call of the owner's.
 */
#ifndef CONTROL_CHANNEL_H
#define CONTROL_CHANNEL_H

#include <sys/queue.h>

#include "tls.h"

#define CHANNEL_MAGIC "AGGC"
#define CHANNEL_GREETING_BYTES 8         /* magic, u16 version, u16 zero; little-endian */
#define CHANNEL_FRAME_FIRST (128u << 10) /* largest frame before a JOIN or RECRUIT was accepted, and from members ever */
#define CHANNEL_FRAME_SETUP (64u << 20)  /* largest frame that members and servers take from a coordinator that they know */
#define CHANNEL_OUTPUT_MAX (1u << 20)    /* bytes that may wait for a peer that does not read, besides one SETUP */
#define CHANNEL_HELLO_S 5.0              /* handshake and first frame together */
#define CHANNEL_LINGER_S 1.0             /* for the peer to take the last words and close */

struct channel;
struct event_base;

/* An encoded frame, length included. Shared by the channels that still have to send it; one thread, so a plain count. */
struct frame {
  uint32_t refs;
  uint32_t len;
  unsigned char bytes[];
};
struct frame *frame_new(uint32_t payload); /* one reference; the length is filled in, the payload is at bytes + 4. NULL: no memory */
void frame_put(struct frame *f);           /* takes NULL */

struct channel_hooks {
  void *user;
  void (*ready)(void *user);                                       /* TLS and greeting are done. May be NULL */
  void (*frame)(void *user, const unsigned char *bytes, size_t n); /* one frame's payload, valid for the call */
  /* The connection is gone and so, after the call, is the channel. code: AGG_EPEER, AGG_EAUTH, AGG_EVERSION, AGG_EPROTO, AGG_ETIMEDOUT,
   * AGG_ELIMIT, AGG_ENOMEM. text starts lower-case and names no peer. */
  void (*closed)(void *user, int code, const char *text);
};

TAILQ_HEAD(channel_list, channel);

/* The channels of one owner: `strangers` have sent nothing useful yet, oldest first. */
struct channel_set {
  struct event_base *base;
  uint16_t version; /* in the greeting: CHANNEL_VERSION; tests set another */
  uint32_t count, n_strangers;
  struct channel_list strangers, known;
};
#define CHANNEL_VERSION 3
void channel_set_init(struct channel_set *set, struct event_base *base);
void channel_set_fini(struct channel_set *set); /* closes what is left, without callbacks */

struct channel_config {
  const struct tls *tls;
  unsigned key; /* client */
  int server;
  int fd;            /* taken over, also on failure */
  double deadline_s; /* for channel_prove to be called; 0: none */
  uint32_t frame_max;
  struct channel_hooks hooks;
};

int channel_open(struct channel_set *set, const struct channel_config *config, struct channel **ch, agg_error_t *err);
/* The peer has shown who it is: no deadline any more, larger frames from now on. */
void channel_prove(struct channel *ch, uint32_t frame_max);
/* Queues the frame (takes a reference of its own). A full queue closes the channel later, through `closed`. */
void channel_send(struct channel *ch, struct frame *f);
/* Says the last words: sends what is queued, then ends the connection and waits for the peer to close, CHANNEL_LINGER_S at most. No
 * callback follows except `gone` (may be NULL), once, when the connection is closed. */
void channel_finish(struct channel *ch, void (*gone)(void *user), void *user);
/* Closes at once; no callback follows. Takes NULL. */
void channel_close(struct channel *ch);

unsigned channel_key(const struct channel *ch);  /* the token that the peer has, once ready */
int channel_same_host(const struct channel *ch); /* both ends have the same address */
int channel_quiet(const struct channel *ch);     /* no byte has come yet */
void *channel_user(const struct channel *ch);    /* the hooks'; NULL once it is finished */
struct channel *channel_oldest_stranger(struct channel_set *set);
/* Ends it as if its deadline had passed, with this text, through `closed`. */
void channel_drop(struct channel *ch, int code, const char *text);

#endif
