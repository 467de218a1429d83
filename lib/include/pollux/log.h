/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_LOG_H
#define POLLUX_LOG_H

/**
 * @file
 * Messages for people, delivered only through a callback of the caller's.
 */

#ifdef __cplusplus
extern "C" {
#endif

/** How much a message matters. */
enum plx_log_level {
	PLX_LOG_ERROR = 1,   /**< something is lost or refused */
	PLX_LOG_WARNING = 2, /**< it goes on, but not as one would wish */
	PLX_LOG_INFO = 3,    /**< what was chosen and why */
	PLX_LOG_DEBUG = 4,   /**< each step */
};

/**
 * typedef plx_log_fn - Receives one message.
 * @arg: what the owner of the callback gave with it
 * @level: how much it matters
 * @message: a sentence without a newline; valid only during the call
 *
 * Called from whatever thread runs the call that has something to say; the callback takes care of
 * its own locking. It must not call back into the context that speaks.
 */
typedef void plx_log_fn(void *arg, enum plx_log_level level, const char *message);

#ifdef __cplusplus
}
#endif

#endif
