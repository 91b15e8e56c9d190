/*
 * Peers of the verbs transport that are made of librdmacm and libibverbs calls alone, and say what a test tells them to say: they connect
 * to a tp or are dialed by one, with any private data, with a queue pair or without, and post any request. They know what is said
 * (transport/verbs/wire.h) and keep to none of it by themselves. rawpeer_turn makes their progress; a program gives it to conform.advance.
 */
#ifndef TESTS_RAWPEER_H
#define TESTS_RAWPEER_H

#include <rdma/rdma_cma.h>

#include "tests/lib/conform.h"
#include "transport/verbs/wire.h"

#define RAW_MAX 512
#define RAW_PRIVATE 56   /* a request's private data at most */
#define RAW_BYTES 8192   /* what a request may write or send */
#define RAW_INLINE 64    /* that much is copied when it is posted */
#define RAW_LANDING 4096 /* where all receives land: for one message at a time */

enum rawpeer_state {
  RAW_FREE,
  RAW_DIALING,
  RAW_ASKED,     /* the request is under way */
  RAW_EXPECTING, /* to be dialed */
  RAW_ANSWERED,  /* without a queue pair: accepted, and not established */
  RAW_UP,
  RAW_REFUSED,
  RAW_GONE /* was up */
};

enum rawpeer_manner {
  RAW_PROPER, /* with a queue pair; accepts when it is dialed */
  RAW_BARE,   /* names a queue pair that is not there, and never takes the last step of connecting */
  RAW_REJECT, /* when it is dialed: rejects with the private data */
  RAW_IGNORE  /* when it is dialed: never answers */
};

struct rawpeer {
  enum rawpeer_state state;
  enum rawpeer_manner manner;
  unsigned char ticket[TP_TICKET_BYTES]; /* by which it is dialed */
  unsigned char mine[RAW_PRIVATE];       /* private data */
  uint8_t mine_len;
  unsigned receives; /* posted at first; each is posted again when it was used, unless this is 0 by then */
  struct rdma_cm_id *id;
  struct ibv_pd *pd;
  struct ibv_cq *cq;
  struct ibv_mr *mr;
  int refusal;                /* enum verbs_reject, 0: without a reason of ours */
  struct verbs_hello welcome; /* the other end's request or answer; kind 0: there was none */
  struct verbs_control last;  /* the last message that came */
  unsigned messages, notices; /* that came */
  unsigned sent;              /* own requests that were acknowledged */
  enum ibv_wc_status failed;  /* of the first that was not */
  unsigned char memory[RAW_BYTES + RAW_LANDING];
};

void rawpeer_begin(void);
void rawpeer_end(void); /* closes all that are left */
void rawpeer_turn(void);

/* A hello of this kind with the ticket of that number (conform.h), and no window. */
void rawpeer_hello(unsigned char out[VERBS_HELLO_BYTES], enum verbs_hello_kind kind, uint32_t ticket);
/* Connects to an end. */
struct rawpeer *rawpeer_dial(const struct end *to, enum rawpeer_manner manner, const void *private_data, size_t len, unsigned receives);
/* Gives the address of the raw peers' listener; a lane that dials it with the ticket of this number finds the peer. */
void rawpeer_address(struct end *as);
struct rawpeer *rawpeer_expect(uint32_t ticket, enum rawpeer_manner manner, const void *private_data, size_t len, unsigned receives);
/* A place of RAW_BYTES that the other end may write. */
struct tp_raddr rawpeer_place(const struct rawpeer *r);
void rawpeer_disconnect(struct rawpeer *r);
void rawpeer_close(struct rawpeer *r);

/* What is posted: failed tells what became of it. */
void rawpeer_send(struct rawpeer *r, const void *bytes, size_t len);
void rawpeer_control(struct rawpeer *r, unsigned type, uint8_t rail, uint32_t a, uint32_t b);
/* An RDMA request of this opcode with bytes of its memory; `at` is a place as the transport names it. */
void rawpeer_rdma(struct rawpeer *r, enum ibv_wr_opcode opcode, struct tp_raddr at, size_t len, uint32_t notice);
/* A put without bytes: a notice. */
void rawpeer_notice(struct rawpeer *r, uint32_t notice);

#endif
