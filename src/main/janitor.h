/* SPDX-License-Identifier: MIT */
/* janitor: the process that sweeps at intervals. */
#ifndef PARLEY_MAIN_JANITOR_H
#define PARLEY_MAIN_JANITOR_H

#include "app/app.h"
#include "base/conf.h"
#include "base/task.h"

/* Sweeps every conf->sweep_interval until SIGTERM or SIGINT. USR1 opens the log again. Blocks every signal. Returns an exit status of main.h. */
int janitor_main(struct task *t, const struct conf *conf, void *app_shared);

/* `parley sweep`: sweeps once, for a timer where no master runs. Opens the shared memory itself. The report as of app_sweep. The caller prints the fault. */
enum err janitor_sweep(struct task *t, const struct conf *conf, struct sweep_report *report_r) MUST_CHECK;

#endif
