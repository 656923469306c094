/* Records to user space: over a ring buffer, and over a perf event array.
 *
 * expect: `send` puts `count` records with consecutive numbers into the ring,
 * expect: and counts those that did not fit in `dropped`; every seventh reservation is given up. `send_perf` does the same over
 * expect: perf events, without giving any up. Both answer 0. */
#include "bpf.h"

static void *(*const bpf_ringbuf_reserve)(void *ring, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*const bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;
static void (*const bpf_ringbuf_discard)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_discard;
static long (*const bpf_ringbuf_output)(void *ring, void *data, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_output;
static long (*const bpf_perf_event_output)(void *context, void *map, __u64 flags, void *data,
					   __u64 size) = (void *)BPF_FUNC_perf_event_output;

struct event {
	__u64 number;
	__u32 writer;
	__u32 kind;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 256);
} perf SEC(".maps");

__u32 count = 1;
__u32 writer;
__u32 kind = 1;
/* BPF_RB_NO_WAKEUP is 1, BPF_RB_FORCE_WAKEUP is 2. */
__u64 wakeup;
__u64 sent;
__u64 dropped;
__u64 given_up;

SEC("tc")
int send(struct __sk_buff *skb)
{
	for (__u32 index = 0; index < 4096; index++) {
		struct event *event;

		if (index >= count)
			break;
		event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
		if (!event) {
			__sync_fetch_and_add(&dropped, 1);
			continue;
		}
		if (index % 7 == 6) {
			__sync_fetch_and_add(&given_up, 1);
			bpf_ringbuf_discard(event, wakeup);
			continue;
		}
		event->number = __sync_fetch_and_add(&sent, 1);
		event->writer = skb->mark ? skb->mark : writer;
		event->kind = kind;
		bpf_ringbuf_submit(event, wakeup);
	}
	return 0;
}

SEC("tc")
int send_short(struct __sk_buff *skb)
{
	__u32 word = skb->len;

	bpf_ringbuf_output(&ring, &word, 3, 0);
	return 0;
}

SEC("tc")
int send_perf(struct __sk_buff *skb)
{
	for (__u32 index = 0; index < 4096; index++) {
		struct event event = { .writer = writer, .kind = kind };

		if (index >= count)
			break;
		event.number = sent;
		if (bpf_perf_event_output(skb, &perf, BPF_F_CURRENT_CPU, &event, sizeof(event)))
			__sync_fetch_and_add(&dropped, 1);
		else
			__sync_fetch_and_add(&sent, 1);
	}
	return 0;
}

LICENSE("GPL");
