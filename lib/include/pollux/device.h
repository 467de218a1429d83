/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef POLLUX_DEVICE_H
#define POLLUX_DEVICE_H

#include <pollux/context.h>
#include <stdbool.h>

/**
 * @file
 * What is common to open devices of every class: what was negotiated and why, and how it went.
 */

#ifdef __cplusplus
extern "C" {
#endif

/** An open device. Each class hands out its own, as plx_eth_device() does. */
struct plx_device;

/** Bytes of a device's name in messages, with the closing zero. */
#define PLX_DEVICE_NAME_LEN 64

/** One negotiable feature. */
struct plx_feature {
	unsigned bit;     /**< its number in the standard */
	const char *name; /**< its name in the standard without the VIRTIO_ prefix, or "bit N";
			       valid only during the visit */
	bool offered;     /**< by the device */
	bool accepted;    /**< by the driver */
	const char *why;  /**< why it was accepted or declined, in a few words; NULL as long as
			       that is not decided; valid only during the visit */
};

/** What one line of a trace tells. */
enum plx_trace_kind {
	PLX_TRACE_STEP,           /**< a step of the handshake begins */
	PLX_TRACE_STATUS_WRITE,   /**< the driver wrote @value to the device status */
	PLX_TRACE_STATUS_READ,    /**< the driver read @value from the device status */
	PLX_TRACE_FEATURES_READ,  /**< the device offers @value, @value_high */
	PLX_TRACE_FEATURES_WRITE, /**< the driver wrote @value, @value_high */
	PLX_TRACE_QUEUE,       /**< queue number @value was programmed with @value_high entries */
	PLX_TRACE_QUEUE_RESET, /**< queue number @value is to be reset alone */
	PLX_TRACE_NOTIFY,      /**< queue number @value was notified for the first time */
};

/** One line of a trace. */
struct plx_trace_entry {
	uint64_t nanoseconds;     /**< since the first line */
	enum plx_trace_kind kind; /**< what the line tells */
	const char *step;         /**< the step of the handshake that it belongs to */
	uint64_t value;           /**< as @kind says; feature bits 0 to 63 */
	uint64_t value_high;      /**< as @kind says; feature bits 64 to 127 */
};

/** typedef plx_feature_visit_fn - Is shown one feature; any value but 0 ends the walk. */
typedef int plx_feature_visit_fn(void *arg, const struct plx_feature *feature);

/** typedef plx_trace_visit_fn - Is shown one line; any value but 0 ends the walk. */
typedef int plx_trace_visit_fn(void *arg, const struct plx_trace_entry *entry);

/**
 * plx_device_name() - The device's address, as messages name it.
 * @device: the device
 *
 * Any thread may call; never blocks.
 *
 * Return: The address without its options; lives as long as the device.
 */
PLX_API const char *plx_device_name(const struct plx_device *device);

/**
 * plx_device_features() - Show every feature that the device offers or the driver knows.
 * @device: the device
 * @visit: is called for each, in the order of the bits
 * @arg: handed to @visit
 *
 * A control call: one at a time for a device.
 *
 * Return: 0, or what @visit returned.
 */
PLX_API int plx_device_features(struct plx_device *device, plx_feature_visit_fn *visit, void *arg);

/**
 * plx_device_trace() - Show the last steps of the negotiation, oldest first.
 * @device: the device
 * @visit: is called for each line
 * @arg: handed to @visit
 *
 * The trace is always kept; it holds the last 256 lines. A control call.
 *
 * Return: 0, or what @visit returned.
 */
PLX_API int plx_device_trace(struct plx_device *device, plx_trace_visit_fn *visit, void *arg);

#ifdef __cplusplus
}
#endif

#endif
