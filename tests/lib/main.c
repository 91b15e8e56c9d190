/* main() of every Check program: the test file gives the suite. CK_FORK, CK_VERBOSITY and CK_RUN_CASE work as Check says. */
#include <check.h>
#include <stdlib.h>

Suite *make_suite(void);

int main(void) {
  SRunner *runner = srunner_create(make_suite());
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
