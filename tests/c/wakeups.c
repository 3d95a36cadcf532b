/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * wakeups: preloaded. No wait for a condition takes longer than 20 ms. POSIX
 * allows such spurious wake-ups; the caller checks its condition and waits
 * again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <time.h>

#define LONGEST 20000000L

int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += LONGEST;
	if (end.tv_nsec >= 1000000000L) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000L;
	}
	/* With a clock of its own, whichever the condition has. */
	int result = pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &end);
	return result == ETIMEDOUT ? 0 : result;
}
