/*
 * The transport's contract. A transport moves bytes and notices between registered memories over lanes. It knows no header, no
 * plan and no operation.
 *
 *   put with notice: write these bytes into that place of the peer's registered memory, then tell the peer a 32-bit number.
 *
 * A struct tp is one transport inside one reactor. EVERY call on a tp, its lanes and its memory regions is made by one thread at a
 * time (whoever drives the reactor); nothing in a transport locks. No call blocks unless its comment says so.
 *
 * Ordering: the notices of a lane arrive in the order of their puts, each after all bytes of its put are in place, or the lane
 * is reported lost (TP_LOST, once; no event of that lane follows). A transport never aborts the process for what a peer did.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "agg.h"
#include "base/log.h"

#define TP_TICKET_BYTES 32
#define TP_ADDRESS_MAX 192
#define TP_NAME_MAX 16
#define TP_IOV_MAX 2

struct tp;      /* one transport in one reactor */
struct tp_lane; /* one connection to one peer, both directions */
struct tp_mr;   /* one registered memory range */

/* A place in a peer's registered memory, as that peer named it. Plain data: travels in headers. key 0 is never valid. */
struct tp_raddr {
  uint32_t key;
  uint64_t off;
};

/* What only a transport over RDMA devices reads. -1 and 0 leave a value to the system or to the default. */
struct tp_rdma {
  const char *devices;   /* "mlx5_0:1,mlx5_1": devices, or ports of devices, to use; "": all that have an address */
  int32_t gid_index;     /* in the port's GID table; -1: the one of the address chosen by route */
  int32_t traffic_class; /* 0 to 255; -1: the system's */
  int32_t service_level; /* 0 to 15; -1: the system's */
  uint32_t mtu;          /* 256, 512, 1024, 2048 or 4096 bytes at most; 0: the largest that both ports have */
  uint32_t ack_timeout;  /* 4.096 us * 2^n, 1 to 31; 0: 16 (268 ms) */
  uint32_t retry_count;  /* 1 to 7; 0: 6 */
};

struct tp_config {
  const struct log *log;
  const char *bind_host; /* "" = chosen; what address() tells peers to connect to */
  const char *peer_host; /* host of a peer (the coordinator) towards which the own address is chosen, or "" */
  uint32_t spin_hint_us;
  const struct tp_rdma *rdma; /* NULL: all defaults. Read by open only */
  void *sim;                  /* the simulator's world, for the sim transport only */
};

/* Memory to be registered. fd >= 0: a memfd that backs it at fd_off (peers on this host may map it). The descriptor stays the caller's
 * and stays open while the region lives. */
struct tp_mem {
  void *addr;
  size_t len;
  int fd;
  uint64_t fd_off;
  uint64_t domain; /* 0: every lane's peer may write; otherwise only the peers of lanes of the same domain */
};

struct tp_lane_config {
  const void *peer_address; /* what the peer's address() gave */
  size_t peer_address_len;
  unsigned char ticket[TP_TICKET_BYTES]; /* the same at both ends, different for every lane; a peer without it is dropped */
  int active;                            /* 1 at exactly one end: that end connects, the other accepts */
  uint32_t depth;                        /* puts that may be outstanding (put, not yet reported sent) at each end at any time */
  uint64_t domain;                       /* see struct tp_mem */
  uint32_t index;                        /* the same at both ends: lanes to one peer are dealt over its NICs (rails) by it */
  struct tp_mr *window_mr;               /* NULL: none. The place window_ptr in it is told to the peer (see TP_CONNECTED) */
  void *window_ptr;
  void *user; /* comes back in events; the transport never looks at it */
};

enum tp_event_kind {
  TP_CONNECTED, /* the lane can be used; peer_window is the window of the peer's lane_config; text says over what it goes */
  TP_NOTICE,    /* a put of the peer's has landed: notice, bytes */
  TP_SENT,      /* own put `token` (not 0): its source memory may be changed. Puts with token 0 give none. In order of the puts */
  TP_LOST       /* the lane is dead: text says why. Source and target memory are not touched through it any more by this end */
};

struct tp_event {
  enum tp_event_kind kind;
  struct tp_lane *lane;
  void *user;                  /* the lane's */
  uint32_t notice;             /* TP_NOTICE */
  uint32_t bytes;              /* TP_NOTICE: payload bytes of the put */
  uint64_t token;              /* TP_SENT */
  struct tp_raddr peer_window; /* TP_CONNECTED */
  const char *text;            /* TP_CONNECTED, TP_LOST: valid until the next call on the tp */
};

struct tp_src {
  const void *base;
  size_t len;
  struct tp_mr *mr; /* the registered range it lies in, or NULL where the transport has TP_CAP_ANY_SOURCE */
};

enum tp_caps {
  TP_CAP_ANY_SOURCE = 1, /* put takes sources that are not registered */
  TP_CAP_MAP = 2,        /* map() can succeed */
  TP_CAP_CHEAP_REG = 4,  /* mem_reg of plain memory takes about as long as a put: no cache is needed */
  TP_CAP_SPIN = 8        /* polling is a read of memory: spinning is worth it. Otherwise a poll is a system call */
};

/* A way out of the host. */
struct tp_port {
  char name[64];        /* "mlx5_0:1", "eth0" */
  uint64_t bytes_per_s; /* each way, as the line has it; 0: unknown */
  int numa;             /* node that it is plugged in at; -1: unknown */
};

struct tp_ops {
  const char *name;
  uint32_t caps;

  /* Opens the transport in one reactor. AGG_ENOTSUP: this machine does not have it (err says why); AGG_ESYS, AGG_ENOMEM, AGG_EINVAL. */
  int (*open)(const struct tp_config *config, struct tp **tp, agg_error_t *err);
  /* Closes lanes and regions that are left, and everything. Takes NULL. */
  void (*close)(struct tp *tp);

  /* Writes what a peer needs to connect (at most TP_ADDRESS_MAX bytes); returns the length. */
  size_t (*address)(struct tp *tp, void *buf);
  /* 1 when a peer with this address can be reached by this transport, 0 when not (another host, malformed). */
  int (*reach)(struct tp *tp, const void *address, size_t len);
  /* The NICs (ports) that lanes are dealt over: writes as many as fit and returns how many there are. 0: none, or it cannot be said. */
  unsigned (*ports)(const struct tp *tp, struct tp_port *out, unsigned max);

  /* Registers memory. AGG_ENOMEM, AGG_ELIMIT, AGG_ESYS. Ranges may overlap others (each has a key of its own). */
  int (*mem_reg)(struct tp *tp, const struct tp_mem *mem, struct tp_mr **mr, agg_error_t *err);
  /* After it returns no peer can write into the range through its key any more, except by a mapped write in progress (see fence). May
   * wait up to 0.2 s for the peers' acknowledgements of puts out of it; a lane that gets none is lost then. Takes NULL. */
  void (*mem_dereg)(struct tp *tp, struct tp_mr *mr);
  /* How the peer of this lane names `ptr`, which lies in the range. Valid as long as the lane and the region live. */
  struct tp_raddr (*raddr)(struct tp_lane *lane, const struct tp_mr *mr, const void *ptr);

  /* Starts connecting or accepting; TP_CONNECTED or TP_LOST follows from poll. The configuration is copied. */
  int (*lane_open)(struct tp *tp, const struct tp_lane_config *config, struct tp_lane **lane, agg_error_t *err);
  /* Closes and frees; puts that were not reported sent may or may not arrive. Takes NULL. No event of the lane follows. */
  void (*lane_close)(struct tp_lane *lane);

  /* Writes the sources (1 to TP_IOV_MAX pieces with any lengths, 0 in all is allowed) one after the other to dst, then delivers notice.
   * dst.key is ignored when there are no bytes. The pieces may be read until TP_SENT, except that piece 0 is copied at once when there
   * are two pieces (it is a header, at most 64 bytes). Never blocks, never fails: a put on a dead lane does nothing (TP_LOST tells).
   * More than `depth` outstanding puts are a bug of the caller (asserted). */
  void (*put)(struct tp_lane *lane, const struct tp_src *src, int pieces, struct tp_raddr dst, uint32_t notice, uint64_t token);

  /* Writes up to max events and returns their number; also does all the transport's work: accepts, reads, writes. */
  int (*poll)(struct tp *tp, struct tp_event *events, int max);

  /* Prepares to sleep: 1 when something is pending (poll again instead), 0 when fd() will become readable at the next event. */
  int (*arm)(struct tp *tp);
  int (*fd)(struct tp *tp); /* for epoll; the same during the tp's life */

  /* The peer's memory as a plain pointer, readable and writable, valid until the lane closes; NULL where that is not possible or the range
   * is not inside the region that the key names. */
  void *(*map)(struct tp_lane *lane, struct tp_raddr at, size_t len);

  /* Shuts the lane for writes of the peer: after it has returned 1, none can land in own memory, mapped writes in progress included.
   * 0: not yet, poll and ask again. Puts of the own end do nothing from the first call on. */
  int (*fence)(struct tp_lane *lane);
  /* Whether the peer has begun to fence this lane: a writer of mapped memory asks before every block that it writes. */
  int (*shut)(const struct tp_lane *lane);
};

/* All transports compiled in, in order of preference, NULL-terminated: shm, verbs, tcp. */
const struct tp_ops *const *tp_all(void);
/* By name among tp_all; NULL when unknown. The simulator (transport/sim/sim.h) is not compiled into the library. */
const struct tp_ops *tp_find(const char *name);

#endif
