/*
 * The memory of one lane, as both ends map it, and the messages on its socket. Everything in here is written by the other process:
 * it is read once into locals and bounded before use.
 *
 *   +---------------------+ 0
 *   | side 0 | side 1     |   control words; side i is written by end i (0 is the end that connected)
 *   +---------------------+ 4096
 *   | ring 0 | ring 1     |   entries of direction i: end i produces, the other consumes
 *   +---------------------+ page aligned
 *   | bounce 0 | bounce 1 |   bytes in transit of direction i, where neither end can reach the other's memory. Untouched pages cost nothing
 *   +---------------------+
 */
#ifndef TRANSPORT_SHM_LAYOUT_H
#define TRANSPORT_SHM_LAYOUT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "transport.h"

#define SHM_MAGIC 0x48534741u /* "AGSH" */
#define SHM_VERSION 1u

/* A header of 64 bytes and three doubles, so that the smallest operations travel in the entry: 40 bytes of fields and this make two cache
 * lines, and up to 24 bytes arrive with the first one. */
#define SHM_INLINE_MAX 88u
#define SHM_RING_MIN 16u
#define SHM_RING_MAX 1024u /* 128 KiB a direction; deeper lanes queue the rest at the sender */
/* Eight parts in transit: enough for both ends to copy at the same time, small enough to stay in a second-level cache. */
#define SHM_BOUNCE_BYTES (256u << 10)
#define SHM_BOUNCE_PART (32u << 10)
#define SHM_PAIR 128 /* cores fetch cache lines in pairs: words of different writers are kept this far apart */

enum shm_entry_kind {
  SHM_ENTRY_INLINE,  /* all bytes are in the entry */
  SHM_ENTRY_PLACED,  /* the producer has written `len` bytes into place already */
  SHM_ENTRY_REGION,  /* `len` bytes at src_at of the producer's announced region src_key */
  SHM_ENTRY_PRIVATE, /* `len` bytes at address src_at of the producer's process */
  SHM_ENTRY_BOUNCE,  /* `len` bytes at src_at of the bounce area */
  SHM_ENTRY_KINDS
};

struct shm_entry {
  _Atomic uint32_t stamp; /* position + 1 once the entry is complete; positions count from 0 and wrap */
  uint8_t kind;
  uint8_t more; /* the same put goes on in the next entry: no notice yet */
  uint8_t inline_len;
  uint8_t reserved;
  uint32_t notice;
  uint32_t len; /* bytes after the inline ones */
  uint32_t dst_key;
  uint32_t src_key;
  uint64_t dst_off; /* of the inline bytes; the others follow */
  uint64_t src_at;
  unsigned char bytes[SHM_INLINE_MAX];
};
_Static_assert(sizeof(struct shm_entry) == 128, "an entry is two cache lines");
_Static_assert(offsetof(struct shm_entry, bytes) == 40, "24 inline bytes lie in the first line");

enum shm_armed { SHM_ARMED_RING = 1, SHM_ARMED_CONSUMED = 2 };

struct shm_side {
  /* the gate: looked at by the other end at each put, changed rarely */
  alignas(SHM_PAIR) _Atomic uint32_t armed; /* enum shm_armed: this end sleeps or is about to; cleared by whoever rings */
  _Atomic uint32_t shut;          /* this end puts nothing more, its by-reference entries are void, and the other must stop writing */
  _Atomic uint32_t reads_private; /* this end can read the other's private memory */
  _Atomic uint64_t changes;       /* number of the last region message meant for this lane, sent or about to be */
  /* progress: written as entries are consumed */
  alignas(SHM_PAIR) _Atomic uint32_t consumed; /* positions below it may be reused */
};
_Static_assert(sizeof(struct shm_side) == 2 * SHM_PAIR, "layout");

#define SHM_RINGS_AT 4096u
#define SHM_PAGE 4096u

enum shm_msg_type {
  SHM_MSG_HELLO = 1, /* connecting end: ticket, window, ring, bounce, probe; the lane's memory is attached */
  SHM_MSG_WELCOME,   /* accepting end: window, probe */
  SHM_MSG_AGAIN,     /* accepting end: nobody has opened a lane with this ticket for a while; try again */
  SHM_MSG_REGION,    /* seq, key, len, file_off; the memfd is attached */
  SHM_MSG_WITHDRAW,  /* seq, key */
  SHM_MSG_BELL       /* wake up; only the first 8 bytes are sent */
};

struct shm_msg {
  uint32_t magic;
  uint16_t version;
  uint16_t type;
  uint32_t window_key;
  uint32_t ring;
  uint64_t window_off;
  uint64_t bounce;
  uint64_t probe_at;
  uint64_t probe_value;
  uint64_t seq;
  uint64_t len;
  uint64_t file_off;
  uint32_t key;
  uint32_t reserved;
  unsigned char ticket[TP_TICKET_BYTES];
};
_Static_assert(sizeof(struct shm_msg) == 112, "both ends are of one architecture; the size is part of the version");
#define SHM_BELL_BYTES 8u

#endif
