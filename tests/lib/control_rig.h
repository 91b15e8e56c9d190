/* What the control plane's tests share: members that record what they are told, a server that answers as it is told, and a raw peer that
 * speaks TLS but not necessarily our protocol. */
#ifndef TESTS_CONTROL_RIG_H
#define TESTS_CONTROL_RIG_H

#include <pthread.h>

#include "control/coord.h"
#include "control/loop.h"
#include "control/member_state.h"

#define RIG_TOKEN "correct horse battery staple"
#define RIG_GUARD_S 20.0 /* a wait longer than this is a failure */

/* A coordinator on a control thread, with a server behind it or not. */
struct rig_server {
  struct control *control;
  struct coordinator *coordinator;
  uint16_t port;
  char address[64]; /* 127.0.0.1:port */
  struct recruit_hooks hooks;
  int no_hooks;
  /* how it behaves */
  const char *refuse;      /* text of the AGG_ELIMIT that prepare gives */
  const char *start_error; /* text of the error that start gives */
  int never_ready;
  uint32_t max_world, max_connections;
  /* what happened; under mu */
  pthread_mutex_t mu;
  pthread_cond_t changed;
  int prepared, started, going, ended, end_code;
  char end_text[AGG_ERROR_TEXT_MAX];
  struct recruit_request request;
  struct recruit *part;
};
void rig_server_start(struct rig_server *s, const char *token);
void rig_server_stop(struct rig_server *s);
void rig_server_wait(struct rig_server *s, const int *word, int value);
/* Cuts every connection that it has accepted, all at once, without a word, in both directions. */
void rig_cut(struct rig_server *s);

/* A member with a control thread of its own and a thread that joins. */
struct rig_member {
  struct control *control;
  struct member *member;
  struct member_config config;
  struct control_node self;
  struct control_address address;
  struct control_setup setup;
  pthread_t thread;
  int threaded, stop_after_join;
  int rc; /* of join, then of ready */
  int ready_rc;
  agg_error_t err;
  struct control_state state; /* the answer to QUERY */
  int block_query;
  /* under mu */
  pthread_mutex_t mu;
  pthread_cond_t changed;
  int aborted, code, n_left, queries, release;
  uint32_t culprit, left[16];
  char text[AGG_ERROR_TEXT_MAX];
};
void rig_member_init(struct rig_member *m, uint16_t port, const char *token, uint32_t rank, uint32_t size);
void rig_member_fini(struct rig_member *m); /* leaves and stops */
void rig_join(struct rig_member *m);        /* starts join (and ready) on a thread */
void rig_joined(struct rig_member *m);      /* waits for that */
void rig_wait(struct rig_member *m, const int *word, int value);
void rig_kill(struct rig_member *m); /* its connection closes without a word */
void rig_group(struct rig_member *m, uint32_t n, uint16_t port, const char *token,
               const char *servers); /* init and join of n ranks, all must succeed */

/* A blocking client that does TLS (or nothing) by hand. */
struct raw {
  int fd;
  struct tls *tls;
  struct tls_conn conn;
};
int raw_connect(uint16_t port);                                /* a plain socket */
int raw_open(struct raw *r, uint16_t port, const char *token); /* TLS; 0, or the handshake's error */
void raw_send(struct raw *r, const void *bytes, size_t n);     /* encrypted */
int raw_read(struct raw *r, unsigned char *buf, int cap);      /* plain bytes; 0 or less at the end */
void raw_close(struct raw *r);
void raw_wait_close(int fd); /* until the peer has closed */

#endif
