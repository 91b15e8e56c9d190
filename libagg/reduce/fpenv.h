/*
 * The floating-point environment of a kernel. A thread inherits the mode of the thread that made it, and training programs do set
 * flush-to-zero; the bits of a sum must not depend on that. Float kernels stand between fpenv_enter and fpenv_leave.
 */
#ifndef REDUCE_FPENV_H
#define REDUCE_FPENV_H

#include <stdint.h>

#if defined(__x86_64__)

#define FPENV_STATUS 0x3fu    /* sticky exception flags: no influence on results */
#define FPENV_DEFAULT 0x1f80u /* nearest even, denormals kept, exceptions masked */

typedef uint32_t fpenv_state_t;

static inline fpenv_state_t fpenv_enter(void) {
  fpenv_state_t old, want = FPENV_DEFAULT;
  __asm__ volatile("stmxcsr %0" : "=m"(old)::"memory");
  if ((old & ~FPENV_STATUS) != FPENV_DEFAULT) __asm__ volatile("ldmxcsr %0" ::"m"(want) : "memory");
  return old;
}

static inline void fpenv_leave(fpenv_state_t old) {
  if ((old & ~FPENV_STATUS) != FPENV_DEFAULT) __asm__ volatile("ldmxcsr %0" ::"m"(old) : "memory");
}

#elif defined(__aarch64__)

typedef uint64_t fpenv_state_t;

static inline fpenv_state_t fpenv_enter(void) {
  fpenv_state_t old, want = 0; /* nearest even, denormals kept, no traps */
  __asm__ volatile("mrs %0, fpcr" : "=r"(old)::"memory");
  if (old != want) __asm__ volatile("msr fpcr, %0" ::"r"(want) : "memory");
  return old;
}

static inline void fpenv_leave(fpenv_state_t old) {
  if (old != 0) __asm__ volatile("msr fpcr, %0" ::"r"(old) : "memory");
}

#else

#include <fenv.h>

typedef fenv_t fpenv_state_t;

static inline fpenv_state_t fpenv_enter(void) {
  fpenv_state_t old;
  fegetenv(&old);
  fesetenv(FE_DFL_ENV);
  return old;
}

static inline void fpenv_leave(fpenv_state_t old) { fesetenv(&old); }

#endif

/* Memory accesses stay between enter and leave, and so does what is computed from them. A float made from an integer argument does not:
 * the compiler may convert it early, in the caller's mode. Pinning the integer after fpenv_enter keeps the conversion behind it. */
#define FPENV_PIN(integer) __asm__ volatile("" : "+r"(integer)::"memory")

#endif
