/* SPDX-License-Identifier: MIT */
/* fuzz_gemini: any answer of any status, in any pieces, gives the result that it gives in one piece; what it gives is sound. */
#include "fuzz_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return check_answer(&llm_gemini, data, size);
}
