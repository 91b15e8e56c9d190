/* The way from reactor threads to the event loop. Allocates nothing, knows nothing of what it carries. */
#include "mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"

int mailbox_init(struct mailbox *box, agg_error_t *err) {
  atomic_init(&box->head, NULL);
  box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return box->fd < 0 ? err_sys(err, AGG_ESYS, errno, "eventfd") : 0;
}

void mailbox_fini(struct mailbox *box) {
  if (box->fd >= 0) close(box->fd);
  box->fd = -1;
}

void mail_post(struct mailbox *box, struct mail *mail) {
  /* Acquire pairs with the release in mailbox_deliver: whoever finds 0 here may write next. Release pairs with the acquire there: a poster
   * that finds 1 leaves, and what it has written is seen by the delivery that is still to come. */
  if (atomic_exchange_explicit(&mail->queued, 1, memory_order_acq_rel) != 0) return;
  struct mail *head = atomic_load_explicit(&box->head, memory_order_relaxed);
  do {
    mail->next = head;
  } while (!atomic_compare_exchange_weak_explicit(&box->head, &head, mail, memory_order_release, memory_order_relaxed));
  uint64_t one = 1;
  ssize_t rc = write(box->fd, &one, sizeof one); /* EAGAIN only when 2^64 - 2 wake-ups are pending: awake enough */
  (void)rc;
}

static struct mail *take_all(struct mailbox *box) {
  uint64_t count;
  ssize_t rc = read(box->fd, &count, sizeof count);
  (void)rc;
  /* Acquire pairs with the release of the push. Whole stacks are taken, so no mail can come back while a push compares (no ABA). */
  struct mail *newest = atomic_exchange_explicit(&box->head, NULL, memory_order_acquire), *oldest = NULL;
  while (newest != NULL) {
    struct mail *next = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = next;
  }
  return oldest;
}

unsigned mailbox_deliver(struct mailbox *box, void (*deliver)(struct mail *mail)) {
  unsigned n = 0;
  for (struct mail *mail = take_all(box), *next; mail != NULL; mail = next, n++) {
    next = mail->next;
    /* Acquire: everything that a poster wrote before it found 1 here is read by deliver. Release: next was read. */
    atomic_exchange_explicit(&mail->queued, 0, memory_order_acq_rel);
    deliver(mail);
  }
  return n;
}

int mail_queued(const struct mail *mail) { return atomic_load_explicit(&mail->queued, memory_order_acquire); }
