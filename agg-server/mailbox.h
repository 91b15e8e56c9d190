/*
 * From the reactors' threads to the event loop, without a lock: a stack that many push and one takes whole, and an eventfd that wakes
 * the loop. A mail is queued at most once; what it is about stands with its owner, written before mail_post.
 */
#ifndef AGG_SERVER_MAILBOX_H
#define AGG_SERVER_MAILBOX_H

#include <stdatomic.h>

#include "agg.h"

struct mail {
  struct mail *next;
  _Atomic int queued; /* 1 from mail_post until the loop delivers it */
};

struct mailbox {
  _Atomic(struct mail *) head;
  int fd; /* readable when there is mail */
};

int mailbox_init(struct mailbox *box, agg_error_t *err); /* AGG_ESYS */
void mailbox_fini(struct mailbox *box);

/* Any thread; never blocks. The mail must live until it was delivered. */
void mail_post(struct mailbox *box, struct mail *mail);

/* The loop's thread: calls deliver for every mail, oldest first. A mail may be posted again as soon as its deliver has begun; deliver may
 * not free another mail's owner. Returns the number. */
unsigned mailbox_deliver(struct mailbox *box, void (*deliver)(struct mail *mail));
/* Whether it is waiting in the box. Stays 0 once nobody posts it any more: then its owner may be freed. */
int mail_queued(const struct mail *mail);

#endif
