# libagg, agg-server, agg-run, agg-perf, examples and tests. Non-recursive; `make help` says what there is.
BUILD ?= release
O ?= build/$(BUILD)
PREFIX ?= /usr/local
CC ?= gcc
V ?= 0

VERSION := 0.1.0
SONAME := libagg.so.0
PKGS := libprotobuf-c openssl libevent_core libibverbs librdmacm hwloc
TEST_PKGS := check

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wvla
CFLAGS_release := -O2 -g
CFLAGS_debug := -O0 -g3
CFLAGS_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
CFLAGS_tsan := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
LDFLAGS_asan := -fsanitize=address,undefined
LDFLAGS_tsan := -fsanitize=thread
ifeq ($(filter $(BUILD),release debug asan tsan),)
$(error BUILD=$(BUILD) is unknown: release, debug, asan or tsan)
endif

CPPFLAGS += -D_GNU_SOURCE -Ilibagg -Itransport -I. -I$(O)/gen
ALL_CFLAGS = -std=c11 -fPIC -fvisibility=hidden -pthread $(WARN) $(CFLAGS_$(BUILD)) $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pthread $(LDFLAGS_$(BUILD)) $(LDFLAGS)
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
HWLOC_LIBS := $(shell pkg-config --libs hwloc 2>/dev/null)
TEST_CFLAGS := $(shell pkg-config --cflags $(TEST_PKGS) 2>/dev/null)
TEST_LIBS := $(shell pkg-config --libs $(TEST_PKGS) 2>/dev/null)

ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' $(1) $(2)
else
Q :=
say = @:
endif

LIB_SRC := $(wildcard libagg/*.c libagg/base/*.c libagg/wire/*.c libagg/reduce/*.c libagg/engine/*.c libagg/mem/*.c libagg/control/*.c topology/*.c transport/*.c transport/doctor/*.c transport/shm/*.c transport/tcp/*.c transport/verbs/*.c)
SIM_SRC := $(wildcard transport/sim/*.c)
SERVER_SRC := $(wildcard agg-server/*.c)
RUN_SRC := $(wildcard scripts/agg-run/*.c)
DOCTOR_SRC := $(wildcard scripts/agg-doctor/*.c scripts/common/*.c)
TOPO_SRC := $(wildcard scripts/agg-topo/*.c scripts/common/*.c)
PERF_SRC := $(wildcard perf/*.c)
LM_SRC := $(wildcard examples/train_lm/*.c)
HELLO_SRC := $(wildcard examples/hello/*.c)
TEST_LIB_SRC := $(wildcard tests/lib/*.c)
TEST_SRC := $(wildcard tests/unit/*.c tests/conform/*.c tests/sim/*.c tests/e2e/*.c tests/rdma/*.c)
GUEST_SRC := $(wildcard tests/conform/verbs.c tests/rdma/*.c)

PROTO_C := $(O)/gen/control.pb-c.c
obj = $(patsubst %.c,$(O)/obj/%.o,$(1))
LIB_OBJ := $(call obj,$(LIB_SRC)) $(O)/obj/gen/control.pb-c.o
TEST_BIN := $(patsubst tests/%.c,$(O)/tests/%,$(TEST_SRC))

.PHONY: all
all: $(O)/$(SONAME) $(O)/libagg.a $(O)/agg-server $(O)/agg-run $(O)/agg-perf $(O)/agg-doctor $(O)/agg-topo $(O)/train_lm $(if $(HELLO_SRC),$(O)/hello)

-include $(shell find $(O) -name '*.d' 2>/dev/null)

$(PROTO_C): libagg/wire/control.proto
	$(call say,PROTO,$<)
	$(Q)mkdir -p $(O)/gen && protoc-c --proto_path=libagg/wire --c_out=$(O)/gen control.proto

$(O)/obj/gen/control.pb-c.o: $(PROTO_C)
	$(call say,CC,$<)
	$(Q)mkdir -p $(dir $@) && $(CC) $(CPPFLAGS) -std=c11 -fPIC -fvisibility=hidden $(CFLAGS_$(BUILD)) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

$(call obj,$(wildcard libagg/control/*.c agg-server/*.c tests/*/*.c)): | $(PROTO_C)

# Under the sanitizers the sum kernels would take a minute to compile at -O3.
KERNEL_OPT := $(if $(filter asan tsan,$(BUILD)),-O1,-O3)
# Each file of an instruction set gets its flags; elsewhere those files are empty or compile to portable code.
ifneq ($(filter x86_64%,$(shell $(CC) -dumpmachine)),)
$(O)/obj/examples/train_lm/gemm_avx2.o: KERNEL_CFLAGS := -O3 -mavx2 -mfma -ffp-contract=fast
$(O)/obj/libagg/reduce/avx2.o: KERNEL_CFLAGS := $(KERNEL_OPT) -mavx2 -mf16c -mfma -ffp-contract=off
$(O)/obj/libagg/reduce/avx512.o: KERNEL_CFLAGS := $(KERNEL_OPT) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mf16c -mfma -ffp-contract=off -mprefer-vector-width=512
endif
$(O)/obj/examples/train_lm/gemm.o: KERNEL_CFLAGS := -O3
$(O)/obj/libagg/reduce/reference.o: KERNEL_CFLAGS := -ffp-contract=off
$(O)/obj/examples/train_lm/model.o: KERNEL_CFLAGS := -O3 -ffast-math

$(O)/obj/tests/%.o: EXTRA_CFLAGS := $(TEST_CFLAGS) -I.

$(O)/obj/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(dir $@) && $(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(KERNEL_CFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c -o $@ $<

$(O)/$(SONAME): $(LIB_OBJ) libagg/libagg.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=libagg/libagg.map -Wl,-z,defs $(ALL_LDFLAGS) -o $@ $(LIB_OBJ) $(PKG_LIBS) -lm
	$(Q)ln -sf $(SONAME) $(O)/libagg.so

# One relocatable object with hidden symbols made local: the archive exports agg_* only.
$(O)/libagg.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)ld -r -o $(O)/libagg.o $(LIB_OBJ) && objcopy --localize-hidden $(O)/libagg.o && rm -f $@ && ar rcs $@ $(O)/libagg.o

# The server and the tests use the library's insides, so they link its objects.
$(O)/agg-server: $(call obj,$(SERVER_SRC)) $(LIB_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm

$(O)/agg-run: $(call obj,$(RUN_SRC)) $(call obj,$(wildcard libagg/base/*.c))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm

$(O)/agg-doctor: $(call obj,$(DOCTOR_SRC)) $(call obj,$(wildcard transport/doctor/*.c libagg/base/*.c))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -libverbs

$(O)/agg-topo: $(call obj,$(TOPO_SRC) $(wildcard topology/*.c libagg/base/*.c) libagg/pin.c libagg/wire/header.c)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(HWLOC_LIBS) -lm

$(O)/agg-perf: $(call obj,$(PERF_SRC)) $(O)/$(SONAME)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,-rpath,'$$ORIGIN:$$ORIGIN/../lib' -o $@ $(call obj,$(PERF_SRC)) -L$(O) -lagg -lm

$(O)/train_lm: $(call obj,$(LM_SRC)) $(O)/$(SONAME)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,-rpath,'$$ORIGIN' -o $@ $(call obj,$(LM_SRC)) -L$(O) -lagg -lm

# Measurements of parts, by perf/compare and by hand.
.PHONY: micro
micro: $(patsubst perf/micro/%.c,$(O)/%,$(wildcard perf/micro/*.c))

# What a chunk costs in the engine.
$(O)/engine_step: $(call obj,perf/micro/engine_step.c $(filter-out topology/discover% topology/bind%,$(wildcard libagg/engine/*.c topology/*.c libagg/base/*.c)) libagg/wire/header.c)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lm

# The engine on the simulated network, beside what was predicted.
$(O)/plan_sim: $(call obj,perf/micro/plan_sim.c $(filter-out topology/discover% topology/bind%,$(wildcard libagg/engine/*.c topology/*.c libagg/base/*.c)) libagg/wire/header.c)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lm

# What planning for many workers takes.
$(O)/plan_time: $(call obj,perf/micro/plan_time.c $(filter-out topology/discover% topology/bind%,$(wildcard topology/*.c libagg/base/*.c)) libagg/wire/header.c)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lm

# How long a cache line takes from one core to another.
$(O)/core_latency: $(call obj,perf/micro/core_latency.c)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

# Speed of the sum kernels beside memcpy.
$(O)/sum_bw: $(call obj,perf/micro/sum_bw.c $(wildcard libagg/reduce/*.c) libagg/base/names.c)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lm

# Round trips and bandwidth of the shared-memory transport between two processes.
$(O)/shm_pingpong: $(call obj,perf/micro/shm_pingpong.c transport/unsupported.c $(wildcard transport/shm/*.c) $(addprefix libagg/base/,err.c log.c names.c state.c util.c))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lm

# Latency, bandwidth and counted calls of the verbs transport between two processes.
$(O)/verbs_put: $(call obj,perf/micro/verbs_put.c transport/unsupported.c transport/sysfs.c $(wildcard transport/verbs/*.c transport/doctor/*.c libagg/base/*.c))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -libverbs -lrdmacm -lm

# These test parts of the server that do not need all of it.
$(O)/tests/unit/server_config $(O)/tests/unit/server_parts: $(call obj,$(addprefix agg-server/,admission.c args.c config.c machine.c mailbox.c options.c text.c tokens.c))

$(O)/hello: $(call obj,$(HELLO_SRC)) $(O)/$(SONAME)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,-rpath,'$$ORIGIN' -o $@ $(call obj,$(HELLO_SRC)) -L$(O) -lagg

$(O)/tests/%: $(O)/obj/tests/%.o $(call obj,$(TEST_LIB_SRC)) $(call obj,$(SIM_SRC)) $(LIB_OBJ)
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@) && $(CC) $(ALL_LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(WRAP)) -o $@ $(filter %.o,$^) $(TEST_LIBS) $(PKG_LIBS) -lm

# Its faults are put into these calls.
comma := ,
$(O)/tests/rdma/faults: WRAP := $(addprefix ibv_,open_device close_device get_device_list query_device alloc_pd dealloc_pd reg_mr reg_mr_iova2 dereg_mr \
  create_comp_channel destroy_comp_channel create_cq destroy_cq create_qp destroy_qp modify_qp) $(addprefix rdma_,create_event_channel \
  destroy_event_channel create_id destroy_id bind_addr listen resolve_addr resolve_route connect accept establish init_qp_attr get_cm_event) \
  calloc realloc aligned_alloc epoll_create1 epoll_ctl timerfd_create
$(O)/tests/unit/forest_memory: WRAP := calloc malloc

$(O)/tests/unit/topo_memory: WRAP := malloc calloc realloc strdup

# These fail the allocations of planning.
$(O)/tests/unit/plan_memory: WRAP := calloc realloc

# Tests of programs' parts link the program's objects without its main.
program_obj = $(filter-out %/main.o,$(call obj,$(1)))
$(filter $(O)/tests/unit/perf_% $(O)/tests/e2e/perf,$(TEST_BIN)): $(call program_obj,$(PERF_SRC))
$(filter $(O)/tests/unit/run_%,$(TEST_BIN)): $(call program_obj,$(RUN_SRC))
$(filter $(O)/tests/unit/doctor_%,$(TEST_BIN)): $(call program_obj,$(DOCTOR_SRC))
$(O)/tests/unit/topo_program $(O)/tests/unit/topo_plans: $(call program_obj,$(TOPO_SRC))

# End-to-end tests start the programs that lie above them in $(O).
$(filter $(O)/tests/e2e/run,$(TEST_BIN)): | $(O)/agg-run
$(filter-out $(O)/tests/e2e/run,$(filter $(O)/tests/e2e/%,$(TEST_BIN))): | $(O)/agg-run $(O)/agg-server $(O)/agg-perf

.PHONY: tests clean
tests: $(TEST_BIN)
clean:
	rm -rf build

# ---- checks ----------------------------------------------------------------------------------------------------------------------
# The suites once as they ship, then under the address and undefined-behaviour sanitizers, then those in which threads or processes meet under
# the thread sanitizer. Each pass has an output directory of its own.
CHECK_DIR ?= build/check
ASAN_SKIP ?= tests/e2e/perf
TSAN_ONLY ?= tests/conform/shm tests/conform/tcp tests/e2e/communicators tests/e2e/faults tests/e2e/library tests/e2e/server \
             tests/unit/control% tests/unit/shm
TEST_NAMES := $(patsubst %.c,%,$(filter-out $(GUEST_SRC),$(TEST_SRC)))
GUEST_NAMES := $(GUEST_SRC:.c=)
ASAN_NAMES := $(filter-out $(ASAN_SKIP),$(TEST_NAMES))
TSAN_NAMES := $(filter $(TSAN_ONLY),$(TEST_NAMES))

# Tests on real verbs run each in a guest with Soft-RoCE: tests/rdma/*.job and tests/rdma/*.c, see docs/testbed.md.
.PHONY: check check-rdma check-build check-rdma-build tidy
check: check-build
	$(Q)scripts/testbed/add-tests $(CHECK_DIR) scripts/run-tests \
	  'style=scripts/tidy' \
	  'library=scripts/tidy-library $(CHECK_DIR)/release' \
	  $(foreach t,$(TEST_NAMES),'release=$(CHECK_DIR)/release/$(t)') \
	  $(foreach t,$(ASAN_NAMES),'asan=$(CHECK_DIR)/asan/$(t)') \
	  $(foreach t,$(TSAN_NAMES),'tsan=$(CHECK_DIR)/tsan/$(t)')

check-rdma: check-rdma-build
	$(Q)scripts/testbed/add-tests $(CHECK_DIR) scripts/run-tests

build_args = --no-print-directory BUILD=$(1) O=$(CHECK_DIR)/$(1)
in_check = $(addprefix $(CHECK_DIR)/$(1)/,$(2))
check-build:
	$(Q)$(MAKE) $(call build_args,release) all tests micro
	$(Q)$(MAKE) $(call build_args,asan) $(call in_check,asan,$(ASAN_NAMES) $(GUEST_NAMES))
	$(Q)$(MAKE) $(call build_args,tsan) $(call in_check,tsan,$(TSAN_NAMES) tests/conform/verbs)

# Jobs start the programs, so these are built as well.
check-rdma-build:
	$(Q)$(MAKE) $(call build_args,release) all $(call in_check,release,$(GUEST_NAMES) tests/e2e/communicators tests/e2e/faults tests/e2e/library)
	$(Q)$(MAKE) $(call build_args,asan) $(call in_check,asan,$(GUEST_NAMES))
	$(Q)$(MAKE) $(call build_args,tsan) $(call in_check,tsan,tests/conform/verbs tests/e2e/communicators tests/e2e/faults tests/e2e/library)

tidy:
	$(Q)scripts/tidy

# ---- demo ------------------------------------------------------------------------------------------------------------------------
.PHONY: demo
demo: all
	$(Q)scripts/run-demo $(O) $(TEXT)

# ---- installing ------------------------------------------------------------------------------------------------------------------
DESTDIR ?=
BINDIR := $(DESTDIR)$(PREFIX)/bin
LIBDIR := $(DESTDIR)$(PREFIX)/lib
INCDIR := $(DESTDIR)$(PREFIX)/include
PCDIR := $(LIBDIR)/pkgconfig
MANDIR := $(DESTDIR)$(PREFIX)/share/man
PROGRAMS := agg-server agg-run agg-perf agg-doctor agg-topo
MAN_PAGES := $(wildcard docs/man/*.[1-8])

$(O)/libagg.pc: Makefile
	$(Q)mkdir -p $(O) && printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' 'Name: libagg' \
	  'Description: Gradient aggregation for distributed training' 'Version: $(VERSION)' 'Requires.private: $(PKGS)' \
	  'Libs: -L$${libdir} -lagg' 'Libs.private: -pthread -lm' 'Cflags: -I$${includedir}' > $@

.PHONY: install uninstall
install: $(O)/$(SONAME) $(O)/libagg.a $(addprefix $(O)/,$(PROGRAMS)) $(O)/libagg.pc
	$(call say,INSTALL,$(DESTDIR)$(PREFIX))
	$(Q)install -d $(BINDIR) $(LIBDIR) $(INCDIR) $(PCDIR)
	$(Q)install -m 755 $(addprefix $(O)/,$(PROGRAMS)) $(BINDIR)
	$(Q)install -m 644 $(O)/$(SONAME) $(O)/libagg.a $(LIBDIR)
	$(Q)ln -sf $(SONAME) $(LIBDIR)/libagg.so
	$(Q)install -m 644 libagg/agg.h $(INCDIR)
	$(Q)install -m 644 $(O)/libagg.pc $(PCDIR)
	$(Q)for page in $(MAN_PAGES); do install -d $(MANDIR)/man$${page##*.} && install -m 644 $$page $(MANDIR)/man$${page##*.} || exit 1; done

uninstall:
	$(call say,REMOVE,$(DESTDIR)$(PREFIX))
	$(Q)rm -f $(addprefix $(BINDIR)/,$(PROGRAMS)) $(addprefix $(LIBDIR)/,$(SONAME) libagg.so libagg.a) $(INCDIR)/agg.h $(PCDIR)/libagg.pc
	$(Q)for page in $(MAN_PAGES); do rm -f $(MANDIR)/man$${page##*.}/$${page##*/}; done

.PHONY: help
help:
	@printf '%s\n' \
	  'make                      libagg.so.0, libagg.a, agg-server, agg-run, agg-perf, agg-doctor, agg-topo and train_lm in build/release' \
	  'make BUILD=debug|asan|tsan   the same in build/BUILD' \
	  'make tests                the test programs' \
	  'make check                all tests, also under the sanitizers; ends with "N passed, N failed"' \
	  'make check-rdma           the tests on real verbs only, in a guest with Soft-RoCE (docs/testbed.md)' \
	  'make tidy                 format, floors, file and function length, banned calls' \
	  'make demo [TEXT=file]     trains a small language model with 4 workers and a server, a ring, direct, and 1 worker' \
	  'make install [PREFIX=/usr/local] [DESTDIR=]   and make uninstall' \
	  'make clean                removes build/' \
	  'CC=clang, O=directory and V=1 (show commands) go with any of them'

.SECONDARY:
