/* The coordinator's inside: connections (sessions), groups, and a server's parts in groups. One thread: the one that runs the event base.
 */
#ifndef CONTROL_COORD_H
#define CONTROL_COORD_H

#include "base/net.h"
#include "base/state.h"
#include "coordinator.h"
#include "message.h"
#include "resolve.h"
#include "topology/cost.h"

#define COORD_LISTENERS_MAX 4
#define COORD_SEATS_MAX (1u << 20) /* over all groups */
#define COORD_TOMB_NS 10000000000ull

struct event;
struct group;
struct recruit;

/* One connection. It belongs to nobody (a stranger), to a group (its seat `node`), or to a server's part in a group. */
struct session {
  TAILQ_ENTRY(session) link;
  struct coordinator *c;
  struct channel *ch;
  struct group *group;
  uint32_t node;
  struct recruit *recruit;
  uint8_t outgoing;
  char peer[80];
};

/* A group that ended in a mismatch before it was complete, for the ranks that come too late to hear of it. */
struct tomb {
  TAILQ_ENTRY(tomb) link;
  unsigned char id[CONTROL_GROUP_BYTES];
  unsigned key;
  uint64_t until_ns;
  uint32_t size;
  unsigned char *told; /* a bit a rank */
  agg_error_t err;
};

/* A node's place in a group. */
struct seat {
  struct session *session; /* NULL: not there (not yet, or left) */
  uint8_t joined, ready, left, described, recruited;
  uint8_t answered; /* the QUERY that runs */
  uint64_t posted[AGG_PRIORITY_COUNT];
  char called[128];
};

/* A server that a group needs. */
struct enlistment {
  struct group *group;
  char host[256];
  uint16_t port;
  char text[300]; /* host:port, for messages */
  struct resolve *question;
  struct net_addr addrs[RESOLVE_ADDRS_MAX];
  int n_addrs, next_addr;
  uint8_t connected, retry;
  char last[160]; /* why the last try failed */
};

/*
 *   GATHERING --all ranks--> CONNECTING --all servers reached--> ASKING --all described: the plan is made--> RECRUITING --all admitted--,
 *       |                                                                                                                            v
 *       '--- no servers: the plan is made -----------------------------------------------------------------------------------> SETTING_UP
 *                                                                                                                  all READY --> RUNNING
 *
 * In GATHERING we wait for JOINs, in CONNECTING for servers to accept, in ASKING for DESCRIBED, in RECRUITING for RECRUITED, in SETTING_UP
 * for READY. A group that fails in any state is told and freed at once.
 */
enum group_state { GROUP_GATHERING, GROUP_CONNECTING, GROUP_ASKING, GROUP_RECRUITING, GROUP_SETTING_UP, GROUP_RUNNING, GROUP_STATE_COUNT };

struct late {
  int active;
  int asks;                       /* no deadline has passed: only what the ranks have called is compared */
  uint32_t priority, op, waiting; /* nodes that have not answered */
  double waited_s;
  char what[256];
  char text[AGG_ERROR_TEXT_MAX];
  struct event *timer;
};

struct group {
  TAILQ_ENTRY(group) link;
  struct coordinator *c;
  unsigned char id[CONTROL_GROUP_BYTES];
  unsigned key;
  uint8_t state;
  char job[AGG_NAME_MAX];
  uint32_t size, n_servers;
  uint32_t joined, ready, present; /* ranks that joined; nodes that are ready; ranks that have not left */
  /* what the first that joined said, which the others must say too */
  uint32_t first_rank, lanes, window, chunk_bytes;
  char *servers, *plan;
  uint8_t strict, tune;
  uint8_t private_memory; /* one that joined says so */
  double join_s;          /* the shortest of the members' */
  uint64_t deadline_ns;
  struct event *timer;        /* deadline of everything before RUNNING */
  struct event *retry;        /* connecting to servers again */
  struct seat *seats;         /* size + n_servers */
  struct enlistment *enlist;  /* n_servers */
  struct control_setup setup; /* its nodes are filled in as they come */
  struct late late;
};

TAILQ_HEAD(session_list, session);
TAILQ_HEAD(group_list, group);
TAILQ_HEAD(tomb_list, tomb);

struct coordinator {
  struct event_base *base;
  const struct log *log;
  struct tls *tls;
  int has_token;
  const struct recruit_hooks *recruit;
  uint32_t max_connections, max_world;
  const struct topo *topo; /* borrowed, or NULL */
  const char *topo_name;
  struct cost cost;
  uint32_t n_listeners;
  int listen_fd[COORD_LISTENERS_MAX];
  struct event *listener[COORD_LISTENERS_MAX];
  struct event *resume; /* accepting was paused */
  uint16_t port;
  struct channel_set set;
  struct session_list sessions;
  struct group_list groups;
  struct tomb_list tombs;
  struct resolver *resolver;
  uint32_t n_groups, n_recruits, n_seats, next_comm;
  uint8_t draining, closing;
  struct log_gate gate;
  char host[64];
};

/* coordinator.c */
struct session *session_open(struct coordinator *c, int fd, unsigned key, int outgoing, const char *peer, agg_error_t *err);
void session_end(struct session *s);                                /* last words are out or on their way; frees the session */
void session_drop(struct session *s);                               /* closes at once; frees the session */
void session_refuse(struct session *s, int code, const char *text); /* REFUSED, logs, ends */
void coordinator_log_refusal(struct coordinator *c, const char *peer, const char *text);

/* Used by the control thread's end: fails what is not running, takes nothing new; busy while running groups or last words are left. */
void coordinator_close_early(struct coordinator *c);
int coordinator_busy(const struct coordinator *c);

/* gather.c */
void group_join(struct session *s, const Ctl__Join *j);
void tombs_free(struct coordinator *c);

/* group.c */
int group_create(struct coordinator *c, const Ctl__Join *j, unsigned key, struct group **g, agg_error_t *err);
void group_move(struct group *g, unsigned state);
void group_message(struct session *s, const Ctl__Frame *f);
void group_lost(struct session *s, int code, const char *text); /* frees the session */
/* Tells everyone and frees the group. culprit: node or UINT32_MAX. */
void group_fail(struct group *g, int code, uint32_t culprit, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void group_complete(struct group *g); /* all ranks have joined */
void group_set_up(struct group *g);   /* all servers are recruited, the plan is made */
void group_set_deadline(struct group *g, double seconds);
const char *group_name(const struct group *g, uint32_t node, char *buf, size_t cap);

/* enlist.c */
int enlist_parse(struct group *g, const char *servers, agg_error_t *err); /* fills n_servers and enlist */
void enlist_free(struct group *g);
void enlist_start(struct group *g);
void enlist_ready(struct session *s);
void enlist_described(struct session *s, const Ctl__Frame *f);
void enlist_answer(struct session *s, const Ctl__Frame *f);
int enlist_lost(struct session *s, int code, const char *text); /* 1: it is tried again; frees the session then */
void enlist_missing(const struct group *g, char *text, size_t cap);

/* planning.c: makes the plan from who is there. AGG_EINVAL, AGG_ENOMEM */
int planning_make(struct group *g, agg_error_t *err);

/* late.c */
void late_report(struct group *g, const Ctl__Late *l);
void late_state(struct session *s, const Ctl__State *st);
void late_left(struct group *g, uint32_t node);
void late_free(struct group *g);

/* recruit.c */
void recruit_describe(struct session *s);
void recruit_open(struct session *s, const Ctl__Recruit *r);
void recruit_message(struct session *s, const Ctl__Frame *f);
void recruit_lost(struct session *s, int code, const char *text); /* frees the session */

#endif
