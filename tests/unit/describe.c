/* What a process says of its ports, in a machine whose PCIe links are slower than they are. */
#include "describe.h"

#include <check.h>
#include <string.h>

#include "base/util.h"
#include "tests/lib/topotext.h"

Suite *make_suite(void);

#define G (1000000000ull / 8)

/* Two ports below one PCIe switch, and one in a slow slot. */
static const char MACHINE[] =
    "topo 1\nhost a\n"
    "nic m_0:1 netdev=eth0 speed=200G pci=0000:18:00.0 path=pci0000:15/0000:15:01.0/0000:16:00.0 pcie=252G\n"
    "nic m_1:1 netdev=eth1 speed=200G pci=0000:19:00.0 path=pci0000:15/0000:15:01.0/0000:16:00.0 pcie=252G\n"
    "nic m_2:1 netdev=eth2 speed=100G pci=0000:02:00.0 path=pci0000:00/0000:00:01.0 pcie=63G\n"
    "bridge 0000:16:00.0 pcie=252G\n";

START_TEST(ports_have_what_pcie_lets_through) {
  static const struct {
    struct control_port port[3], limited[3];
    uint32_t n;
  } CASES[] = {
      {{{"m_0:1", 200 * G, 0}}, {{"m_0:1", 200 * G, 0}}, 1},
      {{{"m_0:1", 200 * G, 0}, {"m_1:1", 200 * G, 0}}, {{"m_0:1", 126 * G, 1}, {"m_1:1", 126 * G, 1}}, 2},
      {{{"m_0:1", 100 * G, 0}, {"m_1:1", 100 * G, 0}}, {{"m_0:1", 100 * G, 0}, {"m_1:1", 100 * G, 0}}, 2},
      {{{"eth2", 100 * G, 0}}, {{"eth2", 63 * G, 1}}, 1},
      {{{"m_2:1", 0, 0}}, {{"m_2:1", 0, 0}}, 1},
      {{{"other", 100 * G, 0}, {"m_2:1", 100 * G, 0}}, {{"other", 100 * G, 0}, {"m_2:1", 63 * G, 1}}, 2},
      {{{"", 0, 0}}, {{"", 0, 0}}, 0},
  };
  struct topo t;
  topotext_parse(MACHINE, &t);
  for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
    struct control_node node = {.n_ports = CASES[i].n};
    memcpy(node.ports, CASES[i].port, sizeof CASES[i].port);
    describe_limit(&node, topo_machine_of(&t, 0));
    for (uint32_t k = 0; k < CASES[i].n; k++) {
      ck_assert_str_eq(node.ports[k].name, CASES[i].limited[k].name);
      ck_assert_uint_eq(node.ports[k].bytes_per_s, CASES[i].limited[k].bytes_per_s);
      ck_assert_uint_eq(node.ports[k].by_pcie, CASES[i].limited[k].by_pcie);
    }
  }
  topo_fini(&t);
}
END_TEST

Suite *make_suite(void) {
  Suite *suite = suite_create("describe");
  TCase *tcase = tcase_create("describe");
  tcase_add_test(tcase, ports_have_what_pcie_lets_through);
  suite_add_tcase(suite, tcase);
  return suite;
}
