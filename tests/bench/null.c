/* SPDX-License-Identifier: MIT */
/* null: the least a FastCGI program can do; what is above its rate cannot be reached behind this web server. */
#include <stddef.h>

#include "serve.h"

static void *null_open(const char *argument)
{
	(void)argument;
	return NULL;
}

static void null_answer(void *state, FCGX_Request *rq)
{
	(void)state;
	FCGX_PutS("Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}", rq->out);
}

int main(int argc, char **argv)
{
	return serve_main(argc, argv, &(const struct serve_program){ null_open, null_answer });
}
