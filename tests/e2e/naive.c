/* SPDX-License-Identifier: MIT */
/*
 * naive: the mistake that the smuggling test must be able to find: answers at once, leaves the body unread, lets the connection be kept.
 * naive SOCKET LOG: writes the path of each request it believes it got.
 */
#include <fcgiapp.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	FCGX_Request rq;
	FILE *log = argc == 3 ? fopen(argv[2], "w") : NULL;
	if (!log || FCGX_Init())
		return 2;
	setvbuf(log, NULL, _IOLBF, 0);
	int fd = FCGX_OpenSocket(argv[1], 64);
	if (fd < 0 || FCGX_InitRequest(&rq, fd, 0))
		return 1;
	while (FCGX_Accept_r(&rq) >= 0) {
		const char *path = FCGX_GetParam("REQUEST_URI", rq.envp);
		fprintf(log, "%s\n", path ? path : "-");
		FCGX_PutS("Status: 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", rq.out);
		FCGX_Finish_r(&rq);
	}
	return 1;
}
