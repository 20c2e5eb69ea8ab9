/* SPDX-License-Identifier: MIT */
/* main: what the programs of the one binary have in common. */
#ifndef PARLEY_MAIN_MAIN_H
#define PARLEY_MAIN_MAIN_H

#ifdef PACKAGE_VERSION
#define PARLEY_VERSION PACKAGE_VERSION
#else
#define PARLEY_VERSION "unknown"
#endif

/* Exit statuses. The master does not start a worker again and again that says EXIT_CONF before any was ever ready. */
enum main_exit { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 64, EXIT_CONF = 78 };

#endif
